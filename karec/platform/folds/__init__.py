"""Folds of the event log: histories and counters as of a moment."""
