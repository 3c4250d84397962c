"""Inverted lists: for each key (a song, a creator, a tag) the rows of its works, best first.

The lists of a snapshot are built once and kept in ``snapshot.built``. The sources of all scenes share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.catalog import schema
from karec.catalog.schema import CREATOR, PUBLISHED
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.kernels.turns import in_turns
from karec.pipeline.types import Array, Request


class Spans(NamedTuple):
    """The first rows of lists.

    rows    (·,) int32
    begins  (L,) position of the first row of each list
    ends    (L,) position after its last row
    stops   (L,) position after the last row of the whole list, of which ``ends`` is a part
    """

    rows: Array
    begins: Array
    ends: Array
    stops: Array

    @classmethod
    def from_limits(cls, rows: Array, begins: Array, stops: Array, limit: int | Array) -> Self:
        """Returns the first ``limit`` rows of each list, one limit or one per list."""
        return cls(rows, begins, np.minimum(begins + limit, stops), stops)


@dataclass(frozen=True, eq=False)
class Postings:
    """``rows[indptr[i]:indptr[i+1]]``, int32, are the rows of ``keys[i]``, by descending priority, ties by
    row."""

    keys: Array
    indptr: Array
    rows: Array

    @classmethod
    def build(cls, keys: Array, priority: Array) -> Self:
        """Returns the lists of ``keys (N,)`` int, one of each row, by ``priority (N,)``. Cost: O(N log N)."""
        return cls.from_order(keys, np.argsort(-priority, kind="stable"))

    @classmethod
    def from_order(cls, key_of_row: Array, order: Array) -> Self:
        """Returns the lists of ``key_of_row (N,)``, with rows in the order of ``order (N,)``.

        Radix sort by 16 bits of the keys, the lowest first (Knuth, TAOCP 3, 5.2.5); NumPy's stable sort of
        uint16 is one. Cost: O(N), at most 4 passes.
        """
        rows = np.asarray(order, np.int32)
        if not len(rows):
            return cls(np.empty(0, np.int64), np.zeros(1, np.int64), rows)
        keys = np.asarray(key_of_row)
        # Differences to the smallest key, without a sign, modulo 2^64.
        offsets = keys.astype(np.uint64) - np.asarray(keys.min()).astype(np.uint64)
        for shift in range(0, int(offsets.max()).bit_length(), 16):
            digit = (offsets >> np.uint64(shift)).astype(np.uint16)
            rows = rows[np.argsort(digit[rows], kind="stable")]
        sorted_keys = keys[rows]
        starts = np.flatnonzero(np.append(True, sorted_keys[1:] != sorted_keys[:-1]))
        return cls(sorted_keys[starts], np.append(starts, len(rows)), rows)

    def rows_of(self, key: int, limit: int) -> Array:
        """Returns the first ``limit`` rows of ``key``; empty for an unknown key. Cost: O(log keys)."""
        spans = self.spans(np.array([key]), limit)
        return spans.rows[spans.begins[0] : spans.ends[0]]

    def spans(self, keys: Array, limit: int | Array) -> Spans:
        """Returns the first ``limit`` rows of each key, one limit or one per key; empty for unknown keys."""
        if not len(self.keys):
            zeros = np.zeros(len(keys), np.int64)
            return Spans(self.rows, zeros, zeros, zeros)
        positions = np.minimum(self.keys.searchsorted(keys), len(self.keys) - 1)
        is_known = self.keys[positions] == keys
        begins = self.indptr[positions]
        stops = np.where(is_known, self.indptr[positions + 1], begins)
        return Spans.from_limits(self.rows, begins, stops, limit)


@dataclass(frozen=True, eq=False)
class UserLists:
    """``rows[indptr[u]:indptr[u+1]]``, int32, are the work rows of user row u."""

    indptr: Array
    rows: Array

    def spans(self, users: Array, limit: int) -> Spans:
        """Returns the first ``limit`` rows of each user row."""
        return Spans.from_limits(self.rows, self.indptr[users], self.indptr[users + 1], limit)

    def rows_of(self, user: int, limit: int) -> Array:
        """Returns the first ``limit`` rows of a user row."""
        return self.rows[self.indptr[user] : min(self.indptr[user] + limit, self.indptr[user + 1])]


def works_by(snapshot: Snapshot, column: str) -> Postings:
    """Returns the work rows by their value of ``column``, most popular first (``popularity``)."""
    return snapshot.built.get(
        ("works by popularity", column),
        lambda: Postings.from_order(category(snapshot.works, column), most_popular(snapshot)),
    )


def newest_by(snapshot: Snapshot, column: str) -> Postings:
    """Returns the work rows by their value of ``column``, newest first, or most popular first without
    times."""
    return snapshot.built.get(
        ("newest works", column),
        lambda: Postings.from_order(category(snapshot.works, column), newest(snapshot)),
    )


def newest_by_creator(snapshot: Snapshot) -> Postings | None:
    """Returns ``newest_by`` creator; None if works have no creators."""
    return newest_by(snapshot, CREATOR) if CREATOR in snapshot.works.columns else None


def latest_of_users(snapshot: Snapshot, relation: str) -> UserLists | None:
    """Returns ``lists_of_users``, built once: 4 bytes an entry. None if there is no such relation."""
    if relation not in snapshot.relations:
        return None
    return snapshot.built.get(("latest works of users", relation), lambda: lists_of_users(snapshot, relation))


def lists_of_users(snapshot: Snapshot, relation: str) -> UserLists:
    """Returns the known works of a relation by user, latest first. Cost: O(M log works) for M entries."""
    entries = snapshot.relations[relation]
    user = np.repeat(np.arange(len(entries)), np.diff(entries.indptr))[::-1]
    rows = snapshot.works.lookup(np.asarray(entries.values)[::-1])
    is_known = rows >= 0
    user = user[is_known]
    order = np.argsort(user, kind="stable")
    indptr = np.append(0, np.cumsum(np.bincount(user, minlength=len(entries))))
    return UserLists(indptr, rows[is_known][order].astype(np.int32))


def users_by(snapshot: Snapshot, column: str) -> Postings | None:
    """Returns the user rows by their value of ``column``, in order of rows; None if users have no such
    column."""
    users = snapshot.users
    if column not in users.columns:
        return None
    return snapshot.built.get(
        ("users by", column), lambda: Postings.build(category(users, column), np.zeros(len(users)))
    )


def category(table: Table, column: str) -> Array:
    """Returns the column, whose values are keys of lists.

    Raises ValueError if it is not an integer column.
    """
    values = np.asarray(table[column])
    if values.dtype.kind not in "iu":
        raise ValueError(f"the column {column!r} holds {values.dtype}, expected integers")
    return values


def interleave(
    snapshot: Snapshot, lists: Sequence[Spans], limit: int, allowed: NDArray[np.bool_] | None = None
) -> Array:
    """Returns (≤ limit,) int32 distinct work rows of the lists: the first of each list, the second of each,
    and so on.

    So a small ``limit`` still keeps the first works of every list. With ``allowed`` (works,), the other works
    are passed over: as many works of each list are returned, if it has them. Cost: O(rows read).
    """
    if not lists:
        return np.empty(0, np.int32)
    list_of_span = np.repeat(np.arange(len(lists)), [len(spans.begins) for spans in lists])
    rows = [spans.rows for spans in lists]
    begins, ends, stops = (np.concatenate([spans[i] for spans in lists]) for i in (1, 2, 3))
    if allowed is None:
        return in_turns(rows, list_of_span, begins, ends, len(snapshot.works), limit)
    limits = ends - begins
    return in_turns(rows, list_of_span, begins, stops, len(snapshot.works), limit, allowed, limits)


def newest(snapshot: Snapshot) -> Array:
    """Returns (N,) int32 work rows, newest first, or most popular first without times; ties by row."""
    if PUBLISHED not in snapshot.works.columns:
        return most_popular(snapshot)
    return snapshot.built.get(
        "newest works", lambda: descending(np.asarray(snapshot.works[PUBLISHED], np.float64))
    )


def popularity(snapshot: Snapshot) -> Array:
    """Returns (N,) float64 in [0, 1]: the smoothed rate per impression of the last counted label that means
    enjoyed.

    Without counters works are ordered by time of publishing, newest 1, oldest 0; without times all are 0.
    """
    return snapshot.built.get("popularity", lambda: _popularity(snapshot))


def most_popular(snapshot: Snapshot) -> Array:
    """Returns (N,) int32 work rows, most popular first, ties by row."""
    return snapshot.built.get("works by popularity", lambda: descending(popularity(snapshot)))


def descending(values: Array) -> Array:
    """Returns (N,) int32 rows by descending ``values (N,)`` float64, ties by row; NaN comes last.

    NumPy sorts float64 and integers by AVX-512 or AVX2, but not stably. A second sort, of (rank of the value,
    row) in one integer, puts rows of equal values in order. Both take a quarter of the time of a stable sort.
    """
    n = len(values)
    if n >= 1 << 31 or np.isnan(values).any():
        return np.argsort(-values, kind="stable").astype(np.int32)
    rows = np.argsort(-values)
    sorted_values = values[rows]
    rank = np.cumsum(sorted_values[1:] != sorted_values[:-1])
    if n < 2 or rank[-1] == n - 1:  # all values differ
        return rows.astype(np.int32)
    rank_and_row = np.append(0, rank) << 31 | rows
    rank_and_row.sort()
    return (rank_and_row & ((1 << 31) - 1)).astype(np.int32)


def _popularity(snapshot: Snapshot) -> Array:
    columns = snapshot.works.columns
    counters = [name for label in snapshot.meaning.enjoyed if (name := schema.counter(label)) in columns]
    if schema.EXPOSED not in columns or not counters:
        if PUBLISHED not in columns:
            return np.zeros(len(snapshot.works))
        upload = np.asarray(columns[PUBLISHED], np.float64)
        after_first = upload - upload.min(initial=np.inf)
        return np.asarray(after_first / after_first.max(initial=1.0))
    positives = np.asarray(columns[counters[-1]])
    shows = np.asarray(columns[schema.EXPOSED])
    return smoothed_rate(positives, shows, mean_rate(positives, shows))


def related_now(request: Request, snapshot: Snapshot, relation: str) -> Array:
    """Returns the ids of a relation for the user, oldest first, from the online store or else from the
    snapshot."""
    newest_ids = request.online_list(relation)
    if newest_ids is not None:
        return newest_ids
    user = snapshot.users.row(request.user_number)
    return np.empty(0, np.int64) if user < 0 else related(snapshot, relation, user)


def latest_rows(request: Request, snapshot: Snapshot, relation: str, limit: int) -> Array:
    """Returns (≤ limit,) int32 rows of the latest known works of a relation for the user, latest first.

    Cost: O(entries).
    """
    rows = snapshot.works.lookup(related_now(request, snapshot, relation)[::-1])
    return rows[rows >= 0][:limit].astype(np.int32)


def uploads_of(request: Request) -> Snapshot | None:
    """Returns the items uploaded after the snapshot, with its columns; None if there are none.

    Their ids are not in the snapshot.
    """
    if request.online is None or not len(request.online.items.uploads.works):
        return None
    return request.online.items.uploads


def related(snapshot: Snapshot, relation: str, user: int) -> Array:
    """Returns the ids of a relation for a user row; empty without the relation."""
    entries = snapshot.relations.get(relation)
    return np.empty(0, np.int64) if entries is None else np.asarray(entries.row_values(user))
