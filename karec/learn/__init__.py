"""Learning: the ranker, towers that are distilled from its log, their export to ONNX. The only room with
torch."""
