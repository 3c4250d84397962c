"""Training data without torch: rows as of their moment, soft labels, logged lists, the replayed rank log."""
