"""Recall: several channels, each cheap and partial, whose union is worth scoring."""
