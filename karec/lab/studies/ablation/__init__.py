"""Ablation: the effect of each piece of distillation, trained by row and seed."""
