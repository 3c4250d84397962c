"""ONNX export of torch models and of trees."""
