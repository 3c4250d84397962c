"""The online store: events, and the aggregates and item states that they change, up to this second."""
