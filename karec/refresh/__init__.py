"""Publishes trained runs as bundles, and refreshes item vectors while a service runs."""
