"""Parts that several steps use."""
