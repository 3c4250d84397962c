"""One training: examples as tensors, the training loop, checkpoints and predictions."""
