"""The cascade as an HTTP service: ``karec serve``, worker processes over the same mapped files."""
