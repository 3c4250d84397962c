"""Measures of accuracy, agreement, diversity, exposure and retrieval on NumPy arrays."""
