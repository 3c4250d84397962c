"""Own data: files that a data.toml describes become a dataset. Loads public data sets by presets."""
