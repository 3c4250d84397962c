"""The online store: aggregates and item states up to this second, and the event log that they follow."""
