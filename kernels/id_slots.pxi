# Hash table from ids to their positions in an array: multiplicative hashing, open addressing, linear probing.
#
# `slots` has 2^bits int32, at least twice as many as ids; each is a position or EMPTY. The caller owns it and the array
# of ids, and stores positions itself. Expected O(1) per lookup.
#
# Source   D. E. Knuth, The Art of Computer Programming, vol. 3, section 6.4 (Algorithm L; multiplicative hashing).
#          M. Dietzfelbinger, T. Hagerup, J. Katajainen, M. Penttonen, A reliable randomized algorithm for the closest-pair
#          problem, J. Algorithms 25(1), 1997 (random odd multipliers).
#
# Included by merge.pyx.

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t

import os

cdef enum:
    EMPTY = -1

cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / the golden ratio
cdef int64_t MOST_STEPS = 64  # average per id from its home to its slot; usually about 0.5
cdef int MULTIPLIERS = 16  # number of attempts; the last one has no step limit


cdef uint64_t another_multiplier():
    """Returns a random multiplier, so that ids chosen to collide under GOLDEN do not collide again."""
    return int.from_bytes(os.urandom(8), "little") | 1


cdef inline int64_t most_steps(Py_ssize_t n_ids, int attempt) noexcept:
    return MOST_STEPS * (n_ids + 64) if attempt < MULTIPLIERS - 1 else INT64_MAX


cdef inline int bits_for(Py_ssize_t n_ids) noexcept:
    """Returns the smallest bits ≥ 1 with 2^bits ≥ 2·n_ids."""
    cdef int bits = 1
    while (<Py_ssize_t>1 << bits) < 2 * n_ids:
        bits += 1
    return bits


cdef inline uint64_t home_of(int64_t id, int bits, uint64_t multiplier) noexcept nogil:
    """Returns the slot where the search for `id` begins. `multiplier` is odd."""
    return (<uint64_t>id * multiplier) >> (64 - bits)


cdef inline uint64_t slot_of(
    int64_t id, const int64_t* ids, const int32_t* slots, int bits, uint64_t multiplier
) noexcept nogil:
    """Returns the slot of the position of `id` in `ids`, or the empty slot for it."""
    cdef uint64_t mask = (<uint64_t>1 << bits) - 1
    cdef uint64_t slot = home_of(id, bits, multiplier)
    while slots[slot] >= 0 and ids[slots[slot]] != id:
        slot = (slot + 1) & mask
    return slot
