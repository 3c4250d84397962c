"""The ablation: what each piece of distillation gives, trained row by row and seed by seed."""
