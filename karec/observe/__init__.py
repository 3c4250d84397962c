"""Observers: what is logged of a request after its answer."""
