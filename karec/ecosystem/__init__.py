"""Ecosystem steps: freshness, tone, and quotas by creator or song."""
