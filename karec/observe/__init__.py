"""Observers: steps that see an answer after it was given."""
