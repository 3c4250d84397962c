"""Filters: they drop candidates."""
