"""Measures of accuracy, agreement and diversity: arrays in, numbers out, NumPy only."""
