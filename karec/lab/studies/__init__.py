"""Studies: what parts of a cascade give, in tables and pictures."""
