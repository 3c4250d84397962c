"""ONNX export of torch models, int8 models, and golden files of models."""
