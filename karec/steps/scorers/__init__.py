"""Scorers: they give each candidate a score."""
