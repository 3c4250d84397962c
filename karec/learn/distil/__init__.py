"""Distillation: towers learn from labels and from what the ranker, their teacher, wrote into the rank log."""
