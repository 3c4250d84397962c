"""Exposure control: constraints, their dual variables, counters of impressions."""
