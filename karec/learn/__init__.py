"""Learning: examples without leakage, the ranker that teaches, the towers that learn from its log, export to ONNX."""
