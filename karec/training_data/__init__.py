"""Training data, without torch: rows as of their moment, the leak check, soft labels, lists, the first rank
log."""
