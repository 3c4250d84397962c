"""Model inputs from the catalog, aggregates and online state. One encoder serves and prepares training."""
