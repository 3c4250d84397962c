"""Numba and Cython kernels on arrays, and the float64 reference that tests compare kernels with."""
