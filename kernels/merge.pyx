# cython: boundscheck=False, wraparound=False, cdivision=True
"""Merges sources: removes repeated items, applies quotas and records which sources found each item.

Algorithm  One pass over the sources, in the order of merge_order.py, with a hash table of positions in the output
           (id_slots.pxi). The first places of the output hold the ids that are left out. If too many ids collide, the
           walk is repeated with a random multiplier; the result does not depend on it. The slot of the id FAR ahead is
           prefetched, and the entries that the slot of the id NEAR ahead points to. Without it each id waits for two
           cache lines in sequence.
Cost       O(sum of n_c) expected time, 28–32 bytes per possible output item. The GIL is released.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

include "id_slots.pxi"

import numpy as np

from karec.kernels.merge_order import MAX_CHANNELS, MAX_LIMIT, checked, checked_channels, filled, most_merged

cdef enum:
    FAR = 24  # ids ahead; 12 to 48 cost the same
    NEAR = 12
    BLOCK = 1024  # items whose sources are compared with all bits before the next block: 4 KiB

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define karec_prefetch(address) __builtin_prefetch(address)
    #else
    #define karec_prefetch(address) ((void)(address))
    #endif
    """
    void karec_prefetch(const void* address) noexcept nogil


cdef inline uint64_t _slot_of(
    int64_t id, const int64_t* known, const int32_t* slots, int bits, uint64_t multiplier, int64_t* steps
) noexcept nogil:
    """Like ``slot_of``, with one branch per step. Subtracts each step from `steps`. `known` has at least one place."""
    cdef uint64_t mask = (<uint64_t>1 << bits) - 1
    cdef uint64_t slot = home_of(id, bits, multiplier)
    cdef int32_t position = slots[slot]
    while (known[position & ~(position >> 31)] ^ id) & ~<int64_t>(position >> 31):  # 0 if the slot is empty
        slot = (slot + 1) & mask
        position = slots[slot]
        steps[0] -= 1
    return slot


cdef inline void _prefetch(
    const int64_t* ids, Py_ssize_t left, const int64_t* known, const uint32_t* sources, const int32_t* slots, int bits,
    uint64_t multiplier,
) noexcept nogil:
    cdef int32_t position
    if left <= FAR:
        return
    karec_prefetch(&slots[home_of(ids[FAR], bits, multiplier)])
    position = slots[home_of(ids[NEAR], bits, multiplier)]
    position &= ~(position >> 31)  # 0 if the slot is empty
    karec_prefetch(&known[position])
    karec_prefetch(&sources[position])


cdef Py_ssize_t _walk(
    const int64_t[::1] ids,
    const float[::1] scores,
    const int32_t[::1] rows,
    Py_ssize_t begin,
    Py_ssize_t most,
    Py_ssize_t quota,
    uint32_t bit,
    Py_ssize_t room,
    Py_ssize_t limit,
    int bits,
    int32_t[::1] table,
    int64_t[::1] out_ids,
    float[::1] out_scores,
    int32_t[::1] out_rows,
    uint32_t[::1] out_sources,
    Py_ssize_t n,
    uint64_t multiplier,
    int64_t* steps,
    Py_ssize_t* refused,
) noexcept nogil:
    """Walks one source from `begin`. Returns the number of items in the output, which had `n` before.

    It adds at most `most` items, and none at output place `room` or later. The first source place without room is
    written to `refused`, else the length of the source. Returns −1 if ids need more than `steps` in all from their home
    slots; the steps that are left are written back.
    """
    cdef Py_ssize_t j = begin, length = ids.shape[0], end = n + most
    cdef uint64_t slot
    cdef int32_t position, is_new
    cdef int32_t* slots = &table[0]
    cdef int64_t* known = &out_ids[0]
    cdef uint32_t* sources = &out_sources[0]
    refused[0] = length
    while j < length and n < min(end, room):  # no branch on is_new: it would be mispredicted half the time
        _prefetch(&ids[j], length - j, known, sources, slots, bits, multiplier)
        slot = _slot_of(ids[j], known, slots, bits, multiplier, steps)
        if steps[0] < 0:
            return -1
        # Overwritten by the next item if this one is not new.
        known[n], out_scores[n], out_rows[n], sources[n] = ids[j], scores[j], rows[j], 0
        position = slots[slot]
        is_new = position < 0
        position ^= (position ^ <int32_t>n) & -is_new
        slots[slot] = position
        sources[position] |= bit
        n += is_new
        j += 1
    while j < length and n < end and not (n == limit and j >= quota):
        _prefetch(&ids[j], length - j, known, sources, slots, bits, multiplier)
        slot = _slot_of(ids[j], known, slots, bits, multiplier, steps)
        if steps[0] < 0:
            return -1
        position = slots[slot]
        if position >= 0:
            sources[position] |= bit
        elif refused[0] == length:
            refused[0] = j
        j += 1
    return n


cdef class _HashWalk:
    """Walks sources with one hash table. The first places of the output hold the ids that are left out."""

    cdef list ids, scores, rows
    cdef int bits
    cdef uint64_t multiplier
    cdef int64_t steps
    cdef int32_t[::1] slots
    cdef int64_t[::1] out_ids
    cdef float[::1] out_scores
    cdef int32_t[::1] out_rows
    cdef uint32_t[::1] out_sources

    def __init__(self, channels, out, uint64_t multiplier, int64_t steps):
        self.ids, self.scores, self.rows = channels
        self.out_ids, self.out_scores, self.out_rows, self.out_sources = out
        self.multiplier, self.steps, self.bits = multiplier, steps, bits_for(len(out[0]))
        self.slots = np.full(1 << self.bits, EMPTY, np.int32)

    def leave_out(self, left_out):
        """Returns the number of ids that are left out; −1 if it gives up."""
        cdef const int64_t[::1] ids = left_out
        cdef const float[::1] scores = np.zeros(len(left_out), np.float32)
        cdef const int32_t[::1] rows = np.zeros(len(left_out), np.int32)
        n, _ = self._run_walk(ids, scores, rows, 0, len(left_out), len(left_out), 0, len(left_out), len(left_out), 0)
        self.out_sources[:max(n, 0)] = 0
        return n

    def __call__(self, c, begin, adds, quota, room, most, n):
        return self._run_walk(self.ids[c], self.scores[c], self.rows[c], begin, adds, quota, 1 << c, room, most, n)

    cdef _run_walk(
        self, const int64_t[::1] ids, const float[::1] scores, const int32_t[::1] rows, Py_ssize_t begin,
        Py_ssize_t adds, Py_ssize_t quota, uint32_t bit, Py_ssize_t room, Py_ssize_t most, Py_ssize_t n,
    ):
        cdef Py_ssize_t refused = 0
        with nogil:
            n = _walk(
                ids, scores, rows, begin, adds, quota, bit, room, most, self.bits, self.slots, self.out_ids,
                self.out_scores, self.out_rows, self.out_sources, n, self.multiplier, &self.steps, &refused,
            )
        return n, refused


def merge_channels(ids, scores, quotas, limit, floors=None, left_out=None, rows=None):
    """See merge.pyi."""
    ids, scores, rows, quotas, limit, floors = checked_channels(ids, scores, rows, quotas, limit, floors)
    left_out = checked("ids", "left out", [] if left_out is None else left_out, np.int64, "safe")
    lengths = [len(values) for values in ids]
    capacity = len(left_out) + most_merged(lengths, quotas, limit)
    if capacity > MAX_LIMIT:
        raise ValueError(f"{len(left_out)} ids left out and a limit of {limit}, expected at most {MAX_LIMIT} together")
    out = tuple(np.empty(capacity, dtype) for dtype in (np.int64, np.float32, np.int32, np.uint32))
    cdef uint64_t multiplier = GOLDEN
    for attempt in range(MULTIPLIERS):
        steps = most_steps(len(left_out) + 2 * sum(lengths), attempt)
        walk = _HashWalk((ids, scores, rows), out, multiplier, steps)
        begin = walk.leave_out(left_out)
        n = begin if begin < 0 else filled(walk, lengths, quotas, limit, floors, begin)
        if n >= 0:
            break
        multiplier = another_multiplier()
    return tuple(values[begin:n] for values in out)


def sole_counts(sources, n_channels):
    """See merge.pyi."""
    counts = np.zeros(n_channels, np.int64)
    cdef const uint32_t[::1] given = np.ascontiguousarray(sources, np.uint32)
    cdef int64_t[::1] to = counts
    cdef Py_ssize_t first = 0, c, i, end, n = given.shape[0], channels = min(to.shape[0], 32)
    cdef const uint32_t* bits
    cdef uint32_t sole
    cdef int32_t found
    if n == 0:
        return counts
    bits = &given[0]
    with nogil:
        while first < n:
            end = min(first + BLOCK, n)
            for c in range(channels):
                sole, found = <uint32_t>1 << <uint32_t>c, 0
                for i in range(first, end):
                    found += bits[i] == sole
                to[c] += found
            first = end
    return counts
