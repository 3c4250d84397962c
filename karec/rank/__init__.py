"""Rank: the full model over a thousand candidates, several objectives fused into one score, every logit
logged."""
