"""Studies of a cascade: what each of its parts contributes, in tables and charts."""
