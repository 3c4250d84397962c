"""Prerank: tens of thousands of candidates, one inner product each, then the health of the whole."""
