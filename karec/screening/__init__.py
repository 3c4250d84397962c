"""Screening: selects the uploads of a library that may be recommended."""
