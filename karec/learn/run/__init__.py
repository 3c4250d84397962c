"""Whole jobs: from data to a run folder, and the ablation."""
