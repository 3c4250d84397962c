# cython: boundscheck=False, wraparound=False, cdivision=True
"""Merges sources whose items have known index rows: like merge.pyx, by rows instead of ids.

Algorithm  Each row of the index has a mark: which sources found it, and whether it is left out. One pass over the
           sources, in the order of merge_order.py, adds the items whose mark is 0. One pass over the output moves the
           marks into `sources` and sets them to 0. Items without a row get numbers behind the rows. The caller's rows are
           not copied: a row that another thread changed after the check takes the mark behind the last one.
Cost       O(sum of n_c): one mark is read and written per entry and per output item; 20 bytes per output item. The GIL
           is released. Marks have 8 bits if these are enough, else 16. Each thread keeps its own, 1 or 2 bytes per row,
           which are 0 between calls, so a call clears only what it used. Against the hash table with 1e5 ids: 0.4 of
           the time with 8 bits, 0.5 with 16.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

import threading

import numpy as np

from karec.kernels.merge_order import MAX_LIMIT, checked, checked_channels, filled, most_merged

MOST_CHANNELS = 15  # bits of a mark without the bit for left-out rows

cdef enum:
    AHEAD = 24  # entries whose marks are being prefetched
    NARROW = 7  # most sources for marks of 8 bits

ctypedef fused Mark:
    uint8_t
    uint16_t

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define karec_prefetch_mark(address) __builtin_prefetch(address, 1)
    #else
    #define karec_prefetch_mark(address) ((void)(address))
    #endif
    #define karec_read_once(value) (*static_cast<const volatile int32_t*>(value))
    """
    void karec_prefetch_mark(const void* address) noexcept nogil
    int32_t karec_read_once(const int32_t* value) noexcept nogil

_thread_marks = threading.local()


cdef Py_ssize_t _walk(
    const int64_t* ids,
    const float* scores,
    const int32_t* rows,
    Py_ssize_t length,
    Py_ssize_t begin,
    Py_ssize_t most,
    Py_ssize_t quota,
    Mark bit,
    Py_ssize_t room,
    Py_ssize_t limit,
    uint32_t n_marks,
    Mark* marks,
    int64_t* out_ids,
    float* out_scores,
    int32_t* out_rows,
    Py_ssize_t n,
    Py_ssize_t* refused,
) noexcept nogil:
    """Walks one source like _walk of merge.pyx."""
    cdef Py_ssize_t j = begin, end = n + most, full = min(end, room), first = length
    cdef uint32_t row
    cdef Mark mark
    while j < length and n < full:  # no branch on the mark: it would be mispredicted half the time
        karec_prefetch_mark(&marks[rows[min(j + AHEAD, length - 1)]])
        row = min(<uint32_t>karec_read_once(&rows[j]), n_marks)
        mark = marks[row]
        marks[row] = mark | bit
        out_ids[n] = ids[j]
        out_scores[n] = scores[j]
        out_rows[n] = <int32_t>row
        n += mark == 0
        j += 1
    while j < length and n < end and not (n == limit and j >= quota):
        karec_prefetch_mark(&marks[rows[min(j + AHEAD, length - 1)]])
        row = min(<uint32_t>karec_read_once(&rows[j]), n_marks)
        mark = marks[row]
        marks[row] = mark | (bit & <Mark>(0 - <int>(mark != 0)))
        first = min(first, j if mark == 0 else length)
        j += 1
    refused[0] = first
    return n


cdef void _leave_out(const int32_t[::1] rows, Mark mark, Mark* marks) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(rows.shape[0]):
        marks[rows[i]] = mark


cdef void _take_marks(
    int32_t* rows, Py_ssize_t n, uint32_t* sources, int32_t n_rows, Mark* marks
) noexcept nogil:
    """Moves the marks of `rows` into `sources`, and sets rows of items that the index does not have to −1."""
    cdef Py_ssize_t i
    cdef int32_t row
    for i in range(n):
        karec_prefetch_mark(&marks[rows[min(i + AHEAD, n - 1)]])
        row = rows[i]
        sources[i] = marks[row]
        marks[row] = 0
        rows[i] = row if row < n_rows else -1


cdef class _RowWalk:
    """Walks sources with the marks of rows."""

    cdef list ids, scores, rows
    cdef bint narrow
    cdef uint32_t n_marks
    cdef uint8_t[::1] marks
    cdef uint16_t* wide_marks
    cdef int64_t[::1] out_ids
    cdef float[::1] out_scores
    cdef int32_t[::1] out_rows

    def __init__(self, channels, out, uint32_t n_marks, marks):
        self.ids, self.scores, self.rows = channels
        self.out_ids, self.out_scores, self.out_rows = out
        self.n_marks, self.marks, self.narrow = n_marks, marks, len(self.ids) <= NARROW
        self.wide_marks = <uint16_t*>&self.marks[0]

    def __call__(
        self, Py_ssize_t c, Py_ssize_t begin, Py_ssize_t adds, Py_ssize_t quota, Py_ssize_t room, Py_ssize_t most,
        Py_ssize_t n,
    ):
        cdef const int64_t[::1] ids = self.ids[c]
        cdef const float[::1] scores = self.scores[c]
        cdef const int32_t[::1] rows = self.rows[c]
        cdef Py_ssize_t refused = 0, length = ids.shape[0]
        if length == 0 or self.out_ids.shape[0] == 0:
            return n, length
        with nogil:
            if self.narrow:
                n = _walk[uint8_t](
                    &ids[0], &scores[0], &rows[0], length, begin, adds, quota, <uint8_t>(1 << c), room, most,
                    self.n_marks, &self.marks[0], &self.out_ids[0], &self.out_scores[0], &self.out_rows[0], n, &refused,
                )
            else:
                n = _walk[uint16_t](
                    &ids[0], &scores[0], &rows[0], length, begin, adds, quota, <uint16_t>(1 << c), room, most,
                    self.n_marks, self.wide_marks, &self.out_ids[0], &self.out_scores[0], &self.out_rows[0], n, &refused,
                )
        return n, refused

    def mark_left_out(self, left_out, bint out):
        cdef const int32_t[::1] rows = left_out
        with nogil:
            if self.narrow:
                _leave_out[uint8_t](rows, <uint8_t>out << 7, &self.marks[0])
            else:
                _leave_out[uint16_t](rows, <uint16_t>out << 15, self.wide_marks)

    def sources(self, Py_ssize_t n, int32_t n_rows):
        """Returns (n,) uint32 of the output, and sets rows that the index does not have to −1."""
        taken = np.empty(n, np.uint32)
        cdef uint32_t[::1] to = taken
        if n == 0:
            return taken
        with nogil:
            if self.narrow:
                _take_marks[uint8_t](&self.out_rows[0], n, &to[0], n_rows, &self.marks[0])
            else:
                _take_marks[uint16_t](&self.out_rows[0], n, &to[0], n_rows, self.wide_marks)
        return taken


def _without_row(values, int64_t n_rows):
    """Returns the number of rows that are −1. ValueError if one is not in −1 … n_rows − 1."""
    cdef const int32_t[::1] rows = values
    cdef Py_ssize_t i
    cdef int32_t row, without = 0, least = 0, largest = -1
    with nogil:
        for i in range(rows.shape[0]):
            row = rows[i]
            without += row < 0
            least = min(least, row)
            largest = max(largest, row)
    if least < -1 or largest >= n_rows:
        raise ValueError(f"the row {least if least < -1 else largest} is not in −1 … {n_rows - 1}")
    return without


def merge_rows(ids, scores, rows, n_rows, quotas, limit, floors=None, left_out=None, left_out_rows=None):
    """See merge_rows.pyi."""
    ids, scores, rows, quotas, limit, floors = checked_channels(ids, scores, rows, quotas, limit, floors)
    left_out = checked("ids", "left out", [] if left_out is None else left_out, np.int64, "safe")
    left_out_rows = checked("rows", "left out", [] if left_out_rows is None else left_out_rows, np.int32, "safe")
    if len(ids) > MOST_CHANNELS:
        raise ValueError(f"{len(ids)} sources, expected at most {MOST_CHANNELS}")
    if len(left_out) != len(left_out_rows):
        raise ValueError(f"left_out has shape {left_out.shape}, left_out_rows has shape {left_out_rows.shape}")
    ids.append(left_out)
    rows.append(left_out_rows.copy())
    without = [_without_row(values, n_rows) for values in rows]
    n_marks = n_rows + _number(ids, rows, n_rows, without)
    if n_marks > MAX_LIMIT:
        raise ValueError(f"{n_rows} rows and {n_marks - n_rows} items without one, expected at most {MAX_LIMIT} together")
    ids.pop()
    left_out_rows = rows.pop()
    lengths = [len(values) for values in ids]
    capacity = most_merged(lengths, quotas, limit)
    out = tuple(np.empty(capacity, dtype) for dtype in (np.int64, np.float32, np.int32))
    marks = _marks_thread_marks((n_marks + 1) * (1 if len(ids) <= NARROW else 2))
    walk = _RowWalk((ids, scores, rows), out, n_marks, marks)
    walk.mark_left_out(left_out_rows, True)
    n = filled(walk, lengths, quotas, limit, floors, 0)
    sources = walk.sources(n, n_rows)
    walk.mark_left_out(left_out_rows, False)
    _thread_marks.marks = marks
    return out[0][:n], out[1][:n], out[2][:n], sources


def _number(ids, rows, n_rows, without):
    """Replaces arrays of `rows` by copies with numbers from n_rows on for items without a row. Returns their number."""
    if not any(without):
        return 0
    sources = [c for c, n_unknown in enumerate(without) if n_unknown]
    for c in sources:
        rows[c] = rows[c].copy()
    unknown = np.concatenate([ids[c][rows[c] < 0] for c in sources])
    items, number = np.unique(unknown, return_inverse=True)
    number = (n_rows + number).astype(np.int32)
    for c in sources:
        is_unknown = rows[c] < 0
        n_unknown = np.count_nonzero(is_unknown)
        rows[c][is_unknown], number = number[:n_unknown], number[n_unknown:]
    return len(items)


def _marks_thread_marks(n_bytes):
    """Returns at least `n_bytes` bytes of 0. The call stores them in `_thread_marks` again once all are 0, or drops them."""
    marks = _thread_marks.__dict__.pop("marks", None)
    if marks is None or len(marks) < n_bytes:
        marks = np.zeros(n_bytes, np.uint8)
    return marks
