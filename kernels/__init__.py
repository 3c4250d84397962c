"""Kernels that need a Python host: the oracle, the portable twins, and what only Python callers use."""
