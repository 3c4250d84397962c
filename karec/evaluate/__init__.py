"""Evaluation: measures on arrays, and reports on quality, consistency and the retrieval funnel."""
