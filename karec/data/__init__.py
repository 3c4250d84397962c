"""Loaders of public data sets in their official file layouts."""
