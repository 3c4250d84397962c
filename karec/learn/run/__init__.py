"""Running a training: preparation, the training loop, checkpoints, the whole job and the ablation."""
