"""Hydrators: they add columns to the candidates."""
