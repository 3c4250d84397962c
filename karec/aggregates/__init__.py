"""Aggregates of events: each is defined once, for a whole log and for one event at a time."""
