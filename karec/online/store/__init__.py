"""Stores of the online state: in memory, in a folder, on a Redis or Valkey server."""
