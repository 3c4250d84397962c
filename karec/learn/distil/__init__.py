"""Distillation: towers learn from labels and from the logits that the ranker (teacher) wrote into the rank
log."""
