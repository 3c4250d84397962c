"""Training rows as of their time, soft labels, candidate lists and the leak check. Needs no torch."""
