"""Training rows as of their moment, soft labels, candidate lists, leak check. Needs no torch."""
