"""Trains the ranker, distils towers from its log and exports both to ONNX. Only this package loads torch."""
