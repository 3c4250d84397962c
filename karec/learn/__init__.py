"""Learning: examples without leakage, the ranker that teaches, the towers that learn from its log, export to ONNX."""

import os

# Read when OpenMP is loaded, hence before torch: threads that wait give their core away. Spinning ones make a step of
# training three times as long where other work shares the cores, and gain little where none does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
