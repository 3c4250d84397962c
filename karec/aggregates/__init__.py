"""Aggregates of events. Each is defined once, for a whole log and for single events."""
