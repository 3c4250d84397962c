"""Studies of models and cascades, as tables and charts."""
