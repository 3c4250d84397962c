"""The steps of karec by role: one file for each step, named as in karec.toml."""
