"""The platform at a moment: works, users and relations, and the folds that carry them through time."""
