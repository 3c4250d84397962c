# cython: boundscheck=False, wraparound=False, cdivision=True
"""Reads lists of rows in turns: the first of each, the second of each, and so on, without repeats.

Algorithm  Round robin over the lists that have not ended; one bit per row marks the taken ones. Rows that are
           not allowed are passed over and use up no turn.
Cost       O(entries read), with `allowed` at most all entries of the lists; rows / 8 bytes that are cleared, and
           a copy of `allowed`, one byte a row. The GIL is released.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

import numpy as np


cdef Py_ssize_t _walk(
    const int32_t** at,
    const int32_t** end,
    int64_t* left,
    Py_ssize_t lists,
    uint64_t[::1] taken,
    const uint8_t* allowed,
    int64_t n_rows,
    int32_t[::1] out,
) noexcept nogil:
    """Returns the number of rows written to `out`; −1 if a row is not in 0 … n_rows − 1.

    `allowed`: NULL, or one byte for each row; `left[i]`: turns of list i.
    """
    cdef Py_ssize_t i, kept, n = 0, limit = out.shape[0]
    cdef int32_t row
    cdef uint64_t bit
    while lists and n < limit:
        kept = 0
        for i in range(lists):
            row = at[i][0]
            if row < 0 or row >= n_rows:
                return -1
            if allowed != NULL:
                while not allowed[row]:
                    at[i] += 1
                    if at[i] == end[i]:
                        break
                    row = at[i][0]
                    if row < 0 or row >= n_rows:
                        return -1
                if at[i] == end[i]:
                    continue
            bit = <uint64_t>1 << (row & 63)
            if not taken[row >> 6] & bit:
                taken[row >> 6] |= bit
                out[n] = row
                n += 1
                if n == limit:
                    break
            at[kept], end[kept], left[kept] = at[i] + 1, end[i], left[i] - 1
            if at[kept] != end[kept] and left[kept]:
                kept += 1
        lists = kept
    return n


def _checked(values, dtype):
    """Returns ``values`` as an array of ``dtype``. ValueError if values of its own type may not fit."""
    array = np.asarray(values)
    if array.size and not np.can_cast(array.dtype, dtype, "safe"):
        raise ValueError(f"an array has dtype {array.dtype}, expected {np.dtype(dtype)}")
    return np.asarray(array, dtype)


def in_turns(arrays, which, begins, ends, n_rows, limit, allowed=None, limits=None):
    """See turns.pyi."""
    arrays = [np.ascontiguousarray(_checked(array, np.int32)) for array in arrays]
    # Copies: another thread may change the caller's bounds after their check.
    which, begins, ends = (np.array(_checked(values, np.int64)) for values in (which, begins, ends))
    n_rows, limit = int(n_rows), int(limit)
    if any(array.ndim != 1 for array in arrays):
        raise ValueError(f"arrays have shapes {[array.shape for array in arrays]}, expected (n,) each")
    if not which.ndim == begins.ndim == ends.ndim == 1 or not len(which) == len(begins) == len(ends):
        shapes = f"{which.shape}, {begins.shape} and {ends.shape}"
        raise ValueError(f"which, begins and ends have shapes {shapes}, expected one for each list")
    if limit < 0 or n_rows < 0:
        raise ValueError(f"limit and n_rows must not be negative, got {limit} and {n_rows}")
    if len(which) and not 0 <= which.min() <= which.max() < len(arrays):
        raise ValueError(f"which holds {which.min()} … {which.max()}, there are {len(arrays)} arrays")
    sizes = np.array([len(array) for array in arrays], np.int64)
    if len(which) and not (begins.min() >= 0 and (begins <= ends).all() and (ends <= sizes[which]).all()):
        raise ValueError("a list does not lie in its array: 0 ≤ begin ≤ end ≤ the array's length")
    turns = ends - begins if limits is None else np.array(_checked(limits, np.int64))
    if turns.shape != which.shape:
        raise ValueError(f"limits has shape {turns.shape}, expected {which.shape}, one for each list")
    if allowed is not None:
        allowed = np.array(_checked(allowed, np.bool_))  # a copy, as above
        if allowed.shape != (n_rows,):
            raise ValueError(f"allowed has shape {allowed.shape}, expected ({n_rows},)")
    has_turns = (begins < ends) & (turns > 0)
    which, begins, ends, turns = (values[has_turns] for values in (which, begins, ends, turns))
    cdef Py_ssize_t lists = len(which), i, n
    pointers = np.empty((2, max(lists, 1)), np.uintp)
    bases = np.array([array.ctypes.data for array in arrays], np.uintp)
    if lists:
        pointers[0] = bases[which] + 4 * begins.astype(np.uintp)
        pointers[1] = bases[which] + 4 * ends.astype(np.uintp)
    out = np.empty(min(limit, int(np.minimum(ends - begins, turns).sum())), np.int32)
    cdef size_t[:, ::1] spans = pointers
    cdef uint64_t[::1] taken = np.zeros((n_rows + 63) // 64 + 1, np.uint64)
    cdef int32_t[::1] to = out
    cdef int64_t rows = n_rows
    cdef int64_t[::1] left = np.append(turns, 0)
    cdef const uint8_t[::1] bytes_of_rows
    cdef const uint8_t* may_be_taken = NULL
    if allowed is not None and n_rows:
        bytes_of_rows = allowed.view(np.uint8)
        may_be_taken = &bytes_of_rows[0]
    with nogil:
        n = _walk(
            <const int32_t**>&spans[0, 0],
            <const int32_t**>&spans[1, 0],
            &left[0],
            lists,
            taken,
            may_be_taken,
            rows,
            to,
        )
    if n < 0:
        raise ValueError(f"a row is not in 0 … {n_rows - 1}")
    return out[:n]
