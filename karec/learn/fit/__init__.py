"""One training: examples as tensors, the training loop, its checkpoints, what a model predicts."""
