"""Users, items and relations at one moment."""
