"""Distillation: towers learn from labels and from the logits of the ranker (teacher) in the rank log."""
