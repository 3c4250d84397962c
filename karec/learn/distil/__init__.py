"""Distillation: losses, and towers that learn from labels and from the rank log."""
