# cython: boundscheck=False, wraparound=False, cdivision=True
"""Merge recall channels: drop repeated works, keep a quota for each channel and which channels found each work.

Algorithm  One pass over the channels with a hash table of positions in the output (id_slots.pxi), whose first places hold
           the works that are left out. A channel stops adding where only floors of other channels have room; where it did,
           a second pass goes on from there. Ids that were chosen to meet in one slot are walked again, by a multiplier
           drawn at random; the result does not depend on it. The slot of the id FAR ahead is prefetched, and of the id
           NEAR ahead what its slot points to: without it each id waits for two cache lines in turn.
Cost       O(sum of n_c) expected time, 28–32 bytes for each possible output work. The GIL is released.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

include "id_slots.pxi"

import numpy as np

MAX_CHANNELS = 32  # bits of `sources`
MAX_LIMIT = 2**31 - 1  # the hash table holds positions as int32

cdef enum:
    FAR = 24  # ids ahead; 12 to 48 cost the same
    NEAR = 12
    BLOCK = 1024  # works whose sources are compared with each channel's bit before the next ones: 4 KiB

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
    """As ``slot_of``, with one branch a step, and each step beyond the home taken from `steps`. `known` has one place."""
    cdef uint64_t mask = (<uint64_t>1 << bits) - 1
    cdef uint64_t slot = home_of(id, bits, multiplier)
    cdef int32_t position = slots[slot]
    while (known[position & ~(position >> 31)] ^ id) & ~<int64_t>(position >> 31):  # 0 where the slot is empty
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
    position &= ~(position >> 31)  # an empty slot's is 0
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
    """Walk one channel from `begin`; `n` works are in the output before it, the returned number after it.

    It adds `most` works at most, and none from `room` on; where that refused one first is written to `refused`, else the
    channel's length. −1 where ids take more than `steps` from their homes to their slots; those that are left are
    written back.
    """
    cdef Py_ssize_t j = begin, length = ids.shape[0], end = n + most
    cdef uint64_t slot
    cdef int32_t position, is_new
    cdef int32_t* slots = &table[0]
    cdef int64_t* known = &out_ids[0]
    cdef uint32_t* sources = &out_sources[0]
    refused[0] = length
    while j < length and n < min(end, room):  # without a branch: whether a work is new is as good as random
        _prefetch(&ids[j], length - j, known, sources, slots, bits, multiplier)
        slot = _slot_of(ids[j], known, slots, bits, multiplier, steps)
        if steps[0] < 0:
            return -1
        # Of the next new work, if this is none.
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


def _checked(what, channel, values, dtype, casting):
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.can_cast(array.dtype, dtype, casting)):
        raise ValueError(
            f"{what} of channel {channel} has shape {array.shape} and dtype {array.dtype}, expected (n,) {dtype.__name__}"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def merge_channels(ids, scores, quotas, limit, floors=None, left_out=None, rows=None):
    """See merge.pyi."""
    ids, scores, quotas, limit = list(ids), list(scores), [int(quota) for quota in quotas], int(limit)
    n_channels = len(ids)
    floors = [0] * n_channels if floors is None else [int(floor) for floor in floors]
    if n_channels > MAX_CHANNELS:
        raise ValueError(f"{n_channels} channels, at most {MAX_CHANNELS} can be told apart in sources")
    if not len(scores) == len(quotas) == len(floors) == n_channels:
        raise ValueError(
            f"{n_channels} lists of ids, {len(scores)} of scores, {len(quotas)} quotas and {len(floors)} floors: "
            "one each per channel"
        )
    if not 0 < limit <= MAX_LIMIT:
        raise ValueError(f"limit must be in 1…{MAX_LIMIT}, got {limit}")
    ids = [_checked("ids", c, values, np.int64, "safe") for c, values in enumerate(ids)]
    scores = [_checked("scores", c, values, np.float32, "same_kind") for c, values in enumerate(scores)]
    rows = [None] * n_channels if rows is None else list(rows)
    if len(rows) != n_channels:
        raise ValueError(f"{n_channels} lists of ids and {len(rows)} of rows: one each per channel")
    rows = [
        np.full(len(ids[c]), -1, np.int32) if values is None else _checked("rows", c, values, np.int32, "safe")
        for c, values in enumerate(rows)
    ]
    for c in range(n_channels):
        for name, values in (("scores", scores[c]), ("rows", rows[c])):
            if len(ids[c]) != len(values):
                raise ValueError(f"channel {c}: ids has shape {ids[c].shape}, {name} has shape {values.shape}")
        if quotas[c] < 0:
            raise ValueError(f"the quota of channel {c} must not be negative, got {quotas[c]}")
        if not 0 <= floors[c] <= quotas[c]:
            raise ValueError(f"the floor of channel {c} must be in 0…{quotas[c]}, its quota, got {floors[c]}")
    if sum(floors) > limit:
        raise ValueError(f"the floors sum to {sum(floors)}, the limit is {limit}")
    left_out = _checked("ids", "left out", [] if left_out is None else left_out, np.int64, "safe")
    takes = [min(quotas[c], len(ids[c])) for c in range(n_channels)]
    kept = [min(floors[c], len(ids[c])) for c in range(n_channels)]
    capacity = len(left_out) + min(limit, sum(takes))
    if capacity > MAX_LIMIT:
        raise ValueError(f"{len(left_out)} works left out and a limit of {limit}: together at most {MAX_LIMIT}")
    out_ids, out_scores = np.empty(capacity, np.int64), np.empty(capacity, np.float32)
    out_rows, out_sources = np.empty(capacity, np.int32), np.empty(capacity, np.uint32)

    cdef int bits = bits_for(capacity)
    cdef int32_t[::1] slots
    cdef int64_t[::1] to_ids = out_ids
    cdef float[::1] to_scores = out_scores
    cdef int32_t[::1] to_rows = out_rows
    cdef uint32_t[::1] to_sources = out_sources
    cdef const int64_t[::1] from_ids
    cdef const float[::1] from_scores
    cdef const int32_t[::1] from_rows
    cdef int tried
    cdef uint32_t bit
    cdef Py_ssize_t begin, quota, adds, room, most, n = 0, none, refused = 0
    cdef uint64_t multiplier = GOLDEN
    cdef int64_t steps
    for tried in range(MULTIPLIERS):
        slots, n = np.full(1 << bits, EMPTY, np.int32), 0
        steps = most_steps(len(left_out) + 2 * sum(map(len, ids)), tried)
        begins, left, free = [0] * n_channels, list(takes), limit - sum(kept)  # places that no floor keeps
        from_ids, from_scores, quota = left_out, np.zeros(len(left_out), np.float32), len(left_out)
        from_rows = np.zeros(len(left_out), np.int32)
        with nogil:
            none = _walk(
                from_ids, from_scores, from_rows, 0, quota, quota, 0, quota, quota, bits,
                slots, to_ids, to_scores, to_rows, to_sources, 0, multiplier, &steps, &refused,
            )
        if none < 0:
            multiplier = another_multiplier()
            continue
        to_sources[:none] = 0
        n, most = none, none + limit
        for again in (False, True):
            for c in range(n_channels):
                if again and begins[c] == len(ids[c]):
                    continue
                room, begin, adds, bit = most if again else n + free + kept[c], begins[c], left[c], <uint32_t>1 << <uint32_t>c
                from_ids, from_scores, from_rows, quota, before = ids[c], scores[c], rows[c], takes[c], n
                with nogil:
                    n = _walk(
                        from_ids, from_scores, from_rows, begin, adds, quota, bit, room, most, bits,
                        slots, to_ids, to_scores, to_rows, to_sources, n, multiplier, &steps, &refused,
                    )
                if n < 0:
                    break
                begins[c], left[c], free = refused, left[c] - (n - before), free - max(n - before - kept[c], 0)
            if n < 0 or not any(floors):
                break
        if n >= 0:
            break
        multiplier = another_multiplier()
    return out_ids[none:n], out_scores[none:n], out_rows[none:n], out_sources[none:n]


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
