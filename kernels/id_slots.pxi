# A hash table from ids to their positions in an array: multiplicative hashing, open addressing, linear probing.
#
# The table is `slots`, int32, 2^bits of them, at least twice as many as ids; each holds a position or EMPTY. The caller
# owns it and the array of ids, and stores positions itself. Expected O(1) a look-up.
#
# Source   D. E. Knuth, The Art of Computer Programming, vol. 3, section 6.4 (Algorithm L; multiplicative hashing).
#
# Included by encode.pyx and merge.pyx.

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    EMPTY = -1

cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / the golden ratio


cdef inline int bits_for(Py_ssize_t n_ids) noexcept:
    """The least bits ≥ 1 with 2^bits ≥ 2·n_ids."""
    cdef int bits = 1
    while (<Py_ssize_t>1 << bits) < 2 * n_ids:
        bits += 1
    return bits


cdef inline uint64_t home_of(int64_t id, int bits, uint64_t multiplier) noexcept nogil:
    """The slot where the search for `id` begins. `multiplier` is odd."""
    return (<uint64_t>id * multiplier) >> (64 - bits)


cdef inline uint64_t slot_of(
    int64_t id, const int64_t* ids, const int32_t* slots, int bits, uint64_t multiplier
) noexcept nogil:
    """The slot that holds the position of `id` in `ids`, or the empty one where it belongs."""
    cdef uint64_t mask = (<uint64_t>1 << bits) - 1
    cdef uint64_t slot = home_of(id, bits, multiplier)
    while slots[slot] >= 0 and ids[slots[slot]] != id:
        slot = (slot + 1) & mask
    return slot
