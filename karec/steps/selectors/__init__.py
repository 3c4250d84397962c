"""Selectors: they keep the best k candidates, in order."""
