"""Rank log: serving writes it, training and evaluation read it."""
