"""Measures of ranking quality, agreement and diversity, on arrays."""
