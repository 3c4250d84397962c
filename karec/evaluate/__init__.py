"""Evaluation: measures on arrays, and studies (quality, ablation, consistency, diversity) with their
reports."""
