"""Settings of a training run: their TOML, the named recipes, and the checks before anything is trained."""
