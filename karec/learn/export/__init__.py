"""From torch to ONNX, int8 models, and golden files of models."""
