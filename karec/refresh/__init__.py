"""Refresh: the item tower over the whole catalogue, again and again, into an index that is published
atomically."""
