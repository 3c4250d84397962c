"""ONNX models, opened and run."""
