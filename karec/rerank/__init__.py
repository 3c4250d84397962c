"""Rerank: from the best works to the best list."""
