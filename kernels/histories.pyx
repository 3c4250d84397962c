# cython: boundscheck=False, wraparound=False, cdivision=True
"""Padded histories from lists of events: one backward walk per row. O(N·H) for N rows of H slots.

The GIL is released; the output is the only memory. The caller's arrays may change during a call: each bound is read
once, checked and then used, so no read leaves the arrays.
"""

from libc.stdint cimport int64_t

import numpy as np


def _check(name, values):
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected 1 dimension of integers")
    return np.ascontiguousarray(array, dtype=np.int64)


def padded_histories(values, starts, ends, width):
    """See histories.pyi."""
    cdef const int64_t[::1] events = _check("values", values)
    cdef const int64_t[::1] first = _check("starts", starts)
    cdef const int64_t[::1] last = _check("ends", ends)
    if first.shape[0] != last.shape[0]:
        raise ValueError(f"starts has shape ({first.shape[0]},), ends has shape ({last.shape[0]},)")
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    padded = np.full((first.shape[0], width), -1, np.int64)
    cdef int64_t[:, ::1] out = padded
    cdef Py_ssize_t n, h
    cdef int64_t start = 0, end = 0
    with nogil:
        for n in range(out.shape[0]):
            start, end = first[n], last[n]
            if start < 0 or end < start or end > events.shape[0]:
                break
            for h in range(min(end - start, <int64_t>out.shape[1])):
                out[n, h] = events[end - 1 - h]
        else:
            n = -1
    if n >= 0:
        raise ValueError(f"row {n} asks for {start}…{end} of {events.shape[0]} values")
    return padded
