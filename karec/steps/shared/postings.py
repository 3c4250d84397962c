"""Inverted lists: for each key (a song, a creator, a tag) the works that have it, best first.

The lists of a snapshot are built once and kept in ``snapshot.built``: the channels of all scenes share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from karec.aggregates.rates import mean_rate, smoothed_rate
from karec.catalog import schema
from karec.catalog.schema import CREATOR, PUBLISHED
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.kernels.turns import in_turns
from karec.pipeline.types import Array, Candidates, Request

Spans = tuple[Array, Array, Array]
"""Lists of rows: ``rows`` int32, and of each list where it begins and ends there."""


@dataclass(frozen=True, eq=False)
class Postings:
    """``rows[indptr[i]:indptr[i+1]]``, int32, are the work rows of ``keys[i]``, by descending priority, ties
    by row."""

    keys: Array
    indptr: Array
    rows: Array

    @classmethod
    def build(cls, key_of_work: Array, priority: Array) -> Self:
        """``key_of_work (N,) int``, ``priority (N,)`` → the lists. O(N log N)."""
        return cls.of_order(key_of_work, np.argsort(-priority, kind="stable"))

    @classmethod
    def of_order(cls, key_of_work: Array, order: Array) -> Self:
        """As ``build``, of rows ``order (N,)`` that are by priority already: a radix sort by 16 bits of the
        keys, the lowest first (Knuth, TAOCP 3, 5.2.5), which is NumPy's stable sort of uint16. O(N), and 4
        passes at most.
        """
        rows = np.asarray(order, np.int32)
        if not len(rows):
            return cls(np.empty(0, np.int64), np.zeros(1, np.int64), rows)
        keys = np.asarray(key_of_work)
        # without a sign, modulo 2^64
        above = keys.astype(np.uint64) - np.asarray(keys.min()).astype(np.uint64)
        for shift in range(0, int(above.max()).bit_length(), 16):
            digit = (above >> np.uint64(shift)).astype(np.uint16)
            rows = rows[np.argsort(digit[rows], kind="stable")]
        ordered = keys[rows]
        first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        return cls(ordered[first], np.append(first, len(rows)), rows)

    def of(self, key: int, limit: int) -> Array:
        """The first ``limit`` work rows of ``key``; empty for a key that no work has. O(log keys)."""
        rows, begins, ends = self.spans(np.array([key]), limit)
        return rows[begins[0] : ends[0]]

    def spans(self, keys: Array, limit: int | Array) -> Spans:
        """The first ``limit`` rows of each key, of all alike or of each its own; empty for a key that no work
        has."""
        if not len(self.keys):
            none = np.zeros(len(keys), np.int64)
            return self.rows, none, none
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[at] == keys
        begins = self.indptr[at]
        return self.rows, begins, np.where(known, np.minimum(begins + limit, self.indptr[at + 1]), begins)


@dataclass(frozen=True, eq=False)
class ListsOfUsers:
    """``rows[indptr[u]:indptr[u+1]]``, int32, are the work rows of user row u; ``scenes`` those of the
    entries, where the relation knows them.
    """

    indptr: Array
    rows: Array
    scenes: Array | None = None

    def spans(self, users: Array, limit: int) -> Spans:
        """The first ``limit`` rows of each user row."""
        begins = self.indptr[users]
        return self.rows, begins, np.minimum(begins + limit, self.indptr[users + 1])


def works_by(snapshot: Snapshot, column: str) -> Postings:
    """Work rows by their value of ``column``, most popular first (``popularity``)."""
    return snapshot.built.get(
        ("works by popularity", column),
        lambda: Postings.of_order(category(snapshot.works, column), most_popular(snapshot)),
    )


def newest_by(snapshot: Snapshot, column: str) -> Postings:
    """Work rows by their value of ``column``, published last first, most popular first where nobody knows
    when."""
    return snapshot.built.get(
        ("newest works", column),
        lambda: Postings.of_order(category(snapshot.works, column), newest(snapshot)),
    )


def newest_by_creator(snapshot: Snapshot) -> Postings | None:
    """``newest_by`` creators; None where works have none."""
    return newest_by(snapshot, CREATOR) if CREATOR in snapshot.works.columns else None


def latest_of_users(snapshot: Snapshot, relation: str) -> ListsOfUsers | None:
    """``lists_of_users``, kept: 4 bytes an entry beside the relation's own. None without the relation."""
    if relation not in snapshot.relations:
        return None
    return snapshot.built.get(("latest works of users", relation), lambda: lists_of_users(snapshot, relation))


def lists_of_users(snapshot: Snapshot, relation: str) -> ListsOfUsers:
    """The works of a relation by user, latest first, those that the snapshot knows. O(M log works)."""
    of = snapshot.relations[relation]
    user = np.repeat(np.arange(len(of)), np.diff(of.indptr))[::-1]
    rows = snapshot.works.lookup(np.asarray(of.values)[::-1])
    known = rows >= 0
    user = user[known]
    order = np.argsort(user, kind="stable")
    indptr = np.append(0, np.cumsum(np.bincount(user, minlength=len(of))))
    scenes = None if of.scenes is None else np.asarray(of.scenes)[::-1][known][order]
    return ListsOfUsers(indptr, rows[known][order].astype(np.int32), scenes)


def users_by(snapshot: Snapshot, column: str) -> Postings | None:
    """User rows by their value of ``column``, in the order of the rows; None where users have no such
    column."""
    users = snapshot.users
    if column not in users.columns:
        return None
    return snapshot.built.get(
        ("users by", column), lambda: Postings.build(category(users, column), np.zeros(len(users)))
    )


def category(table: Table, column: str) -> Array:
    """The column, whose values are lists' keys; ValueError for one that does not hold whole numbers."""
    values = np.asarray(table[column])
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"the column {column!r} holds {values.dtype}, recall by its values needs whole numbers"
        )
    return values


def interleave(snapshot: Snapshot, lists: Sequence[Spans], limit: int) -> Array:
    """(≤ limit,) int32 work rows of the lists read in turns (first of each, second of each, …), repeats left
    out.

    So the first works of every list are kept however small ``limit`` is. O(rows read).
    """
    if not lists:
        return np.empty(0, np.int32)
    which = np.repeat(np.arange(len(lists)), [len(begins) for _, begins, _ in lists])
    begins, ends = (np.concatenate([spans[at] for spans in lists]) for at in (1, 2))
    return in_turns([rows for rows, _, _ in lists], which, begins, ends, len(snapshot.works), limit)


def works_at(snapshot: Snapshot, rows: Array) -> Candidates:
    """The works of ``rows (N,)`` int32, in their order. ``take`` costs a third of an index of int32."""
    return Candidates.from_ids(np.asarray(snapshot.works.ids).take(rows))


def newest(snapshot: Snapshot) -> Array:
    """(N,) int32 work rows, published last first, or most popular first where nobody knows when; ties by
    row."""
    if PUBLISHED not in snapshot.works.columns:
        return most_popular(snapshot)
    return snapshot.built.get(
        "newest works", lambda: descending(np.asarray(snapshot.works[PUBLISHED], np.float64))
    )


def popularity(snapshot: Snapshot) -> Array:
    """(N,) float64 in [0, 1]: the smoothed rate, per show, of the last label that says enjoyed and is
    counted.

    Works without counters are ordered by when they were published, newest 1, oldest 0; all are 0 where nobody
    knows.
    """
    return snapshot.built.get("popularity", lambda: _popularity(snapshot))


def most_popular(snapshot: Snapshot) -> Array:
    """(N,) int32 work rows, most popular first, ties by row."""
    return snapshot.built.get("works by popularity", lambda: descending(popularity(snapshot)))


def descending(values: Array) -> Array:
    """(N,) int32 rows by falling ``values (N,)`` float64, ties by row; NaN comes last. As a stable sort in a
    quarter of its time: NumPy sorts doubles and whole numbers by AVX-512 or AVX2, but not stably, so that
    rows of equal values are put in order by a second sort, of (rank of the value, row) in one number.
    """
    n = len(values)
    if n >= 1 << 31 or np.isnan(values).any():
        return np.argsort(-values, kind="stable").astype(np.int32)
    rows = np.argsort(-values)
    ordered = values[rows]
    rank = np.cumsum(ordered[1:] != ordered[:-1])
    if n < 2 or rank[-1] == n - 1:  # no two are equal
        return rows.astype(np.int32)
    keyed = np.append(0, rank) << 31 | rows
    keyed.sort()
    return (keyed & ((1 << 31) - 1)).astype(np.int32)


def _popularity(snapshot: Snapshot) -> Array:
    columns = snapshot.works.columns
    counted = [name for label in snapshot.meaning.enjoyed if (name := schema.counter(label)) in columns]
    if schema.EXPOSED not in columns or not counted:
        if PUBLISHED not in columns:
            return np.zeros(len(snapshot.works))
        upload = np.asarray(columns[PUBLISHED], np.float64)
        after_first = upload - upload.min(initial=np.inf)
        return np.asarray(after_first / after_first.max(initial=1.0))
    positives = np.asarray(columns[counted[-1]])
    shows = np.asarray(columns[schema.EXPOSED])
    return smoothed_rate(positives, shows, mean_rate(positives, shows))


def user_row(snapshot: Snapshot, user: int) -> int:
    """The row of the user, −1 for one that the snapshot does not know."""
    return snapshot.users.row(user)


def related_now(request: Request, snapshot: Snapshot, relation: str) -> Array:
    """The ids that a relation has for the user as of the request, oldest first; the snapshot's where nothing
    newer is known.
    """
    now = request.online_list(relation)
    if now is not None:
        return now
    user = user_row(snapshot, request.user_number)
    return np.empty(0, np.int64) if user < 0 else related(snapshot, relation, user)


def latest_rows(request: Request, snapshot: Snapshot, relation: str, limit: int) -> Array:
    """(≤ limit,) int32 rows of the latest works that a relation has for the user as of the request, latest
    first, those that the snapshot knows. O(entries).
    """
    rows = snapshot.works.lookup(related_now(request, snapshot, relation)[::-1])
    return rows[rows >= 0][:limit].astype(np.int32)


def related(snapshot: Snapshot, relation: str, user: int) -> Array:
    """The ids that a relation has for a user row; none without the relation."""
    known = snapshot.relations.get(relation)
    return np.empty(0, np.int64) if known is None else np.asarray(known.of(user))
