# cython: boundscheck=False, wraparound=False, cdivision=True
"""Raw features into model inputs: ids into vocabulary codes, event lists into padded histories, matches into counts.

Algorithm  Vocabulary: a hash table of positions (id_slots.pxi); an id that is not in it is mixed into a code of its own
           (splitmix64's finaliser), so that equal ids keep equal codes. Keys that were chosen to meet in one slot are
           placed again by a multiplier drawn at random, which they cannot know; codes do not depend on it.
           padded_histories: one backward walk a row.
           count_matches: every candidate's codes against every history slot, column by column.
Cost       Vocabulary O(n) expected for n ids; padded_histories O(N·H); count_matches O(N·(H + S)·I).
           The GIL is released in all of them; the only memory taken is the output.
Source     G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (mix64).
Threads    Arrays of the caller may change during a call: each bound is read once, checked, then used, so nothing outside
           the arrays is read; the result is then that of some mixture of old and new values.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

include "id_slots.pxi"

import numpy as np

FIRST_UNSEEN = 1 << 62  # codes ≥ this one belong to ids that the vocabulary does not hold

cdef int64_t UNSEEN = 1 << 62


cdef inline int64_t _unseen(int64_t id) noexcept nogil:
    cdef uint64_t z = <uint64_t>id + <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z = z ^ (z >> 31)
    return UNSEEN | <int64_t>(z >> 2)


def _checked(what, values, ndim):
    array = np.asarray(values)
    if array.ndim != ndim or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"{what} has shape {array.shape} and dtype {array.dtype}, expected {ndim} dimensions of integers")
    return np.ascontiguousarray(array, dtype=np.int64)


cdef class Vocabulary:
    """See encode.pyi."""

    cdef readonly object keys
    cdef const int64_t[::1] _keys
    cdef int32_t[::1] _slots
    cdef int _bits
    cdef uint64_t _multiplier

    def __init__(self, keys):
        self.keys = _checked("keys", keys, 1).copy()
        self.keys.flags.writeable = False
        self._keys = self.keys
        cdef Py_ssize_t n = self._keys.shape[0]
        cdef int tried
        if n >= 1 << 30:
            raise ValueError(f"a vocabulary holds fewer than 2^30 keys, got {n}")
        self._bits = bits_for(n)
        self._multiplier = GOLDEN
        for tried in range(MULTIPLIERS):
            self._slots = np.full(1 << self._bits, EMPTY, np.int32)
            if self._placed(n, most_steps(n, tried)):
                break
            self._multiplier = another_multiplier()

    cdef bint _placed(self, Py_ssize_t n, int64_t most) except -1:
        """Whether all keys are in their slots; False where they take more than `most` steps."""
        cdef Py_ssize_t k
        cdef uint64_t slot, mask = (<uint64_t>1 << self._bits) - 1
        cdef int64_t steps = 0
        for k in range(n):
            if self._keys[k] < 0:
                raise ValueError(f"keys must not be negative, keys[{k}] is {self._keys[k]}")
            slot = slot_of(self._keys[k], &self._keys[0], &self._slots[0], self._bits, self._multiplier)
            if self._slots[slot] != EMPTY:
                raise ValueError(f"keys must be unique, {self._keys[k]} stands twice")
            self._slots[slot] = <int32_t>k
            steps += <int64_t>((slot - home_of(self._keys[k], self._bits, self._multiplier)) & mask)
            if steps > most:
                return False
        return True

    def __len__(self):
        return len(self.keys)

    def encode(self, ids):
        """See encode.pyi."""
        cdef const int64_t[::1] wanted = _checked("ids", ids, 1)
        codes = np.empty(wanted.shape[0], np.int64)
        cdef int64_t[::1] out = codes
        cdef const int64_t* keys = &self._keys[0] if self._keys.shape[0] else NULL
        cdef const int32_t* slots = &self._slots[0]
        cdef int64_t id
        cdef int32_t position
        cdef int bits = self._bits
        cdef uint64_t multiplier = self._multiplier
        cdef Py_ssize_t n
        with nogil:
            for n in range(wanted.shape[0]):
                id = wanted[n]
                if id < 0:
                    out[n] = 0
                    continue
                position = slots[slot_of(id, keys, slots, bits, multiplier)]
                out[n] = position + 1 if position != EMPTY else _unseen(id)
        return codes


def padded_histories(values, starts, ends, width):
    """See encode.pyi."""
    cdef const int64_t[::1] events = _checked("values", values, 1)
    cdef const int64_t[::1] first = _checked("starts", starts, 1)
    cdef const int64_t[::1] last = _checked("ends", ends, 1)
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


cdef inline Py_ssize_t _matches(
    const int64_t[:, :, ::1] histories, Py_ssize_t row, Py_ssize_t column, int64_t code, Py_ssize_t* newest
) noexcept nogil:
    """How many slots of `row` hold `code`; `newest` becomes the first of them, or stays."""
    cdef Py_ssize_t h, count = 0
    for h in range(histories.shape[1] - 1, -1, -1):
        if histories[row, h, column] == code:
            count += 1
            newest[0] = h
    return count


def count_matches(history, skipped, items):
    """See encode.pyi."""
    cdef const int64_t[:, :, ::1] kept = _checked("history", history, 3)
    cdef const int64_t[:, :, ::1] passed = _checked("skipped", skipped, 3)
    cdef const int64_t[:, ::1] codes = _checked("items", items, 2)
    cdef Py_ssize_t n_rows = codes.shape[0], n_columns = codes.shape[1]
    for name, array in (("history", history), ("skipped", skipped)):
        if array.shape[2] != n_columns or array.shape[0] not in (1, n_rows):
            raise ValueError(
                f"{name} has shape {array.shape}, items has shape {items.shape}: expected (1 or {n_rows}, …, {n_columns})"
            )
    matches = np.zeros((n_rows, 4, n_columns), np.float32)
    cdef float[:, :, ::1] out = matches
    cdef Py_ssize_t n, i, kept_place, passed_place
    cdef Py_ssize_t kept_step = 0 if kept.shape[0] == 1 else 1, passed_step = 0 if passed.shape[0] == 1 else 1
    with nogil:
        for n in range(n_rows):
            for i in range(n_columns):
                if codes[n, i] == 0:
                    continue
                kept_place = passed_place = -1
                out[n, 0, i] = <float>_matches(kept, n * kept_step, i, codes[n, i], &kept_place)
                out[n, 1, i] = <float>_matches(passed, n * passed_step, i, codes[n, i], &passed_place)
                out[n, 2, i] = <float>1.0 / <float>(1 + kept_place) if kept_place >= 0 else 0
                out[n, 3, i] = <float>1.0 / <float>(1 + passed_place) if passed_place >= 0 else 0
    return matches
