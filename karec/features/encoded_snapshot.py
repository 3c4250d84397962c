"""A snapshot encoded once, for every request and training row that reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import CowatchVectors
from karec.features.table import EncodedTable, TableCoder
from karec.features.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class EncodedSnapshot:
    """Both tables, and more of each; the last row of every array belongs to an unknown user or work, and is
    zero.

    alike    (users + 1, P) int64  users' values in the P categories that works have too, in the works' codes
    people   (users + 1, 1) int64  codes of the users themselves
    cowatch  (works + 1,) int64    the row of ``CowatchVectors.vectors`` of each work
    """

    users: EncodedTable
    works: EncodedTable
    alike: NDArray[Any]
    people: NDArray[Any]
    cowatch: NDArray[Any]

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        users: TableCoder,
        works: TableCoder,
        shared: Sequence[str],
        people: Vocabulary,
        cowatch: CowatchVectors | None,
    ) -> EncodedSnapshot:
        """O(rows · columns). Raises ValueError naming a column that a table lacks."""
        n_users, n_works = len(snapshot.users), len(snapshot.works)
        encoded_users, encoded_works = users.encode(snapshot.users), works.encode(snapshot.works)
        alike = np.zeros((n_users + 1, len(shared)), np.int64)
        for at, name in enumerate(shared):
            alike[:-1, at] = works.code(name, snapshot.users[name])
        own = np.zeros((n_users + 1, 1), np.int64)
        own[:-1, 0] = people.encode(snapshot.users.ids)
        watched = np.zeros(n_works + 1, np.int64)
        if cowatch is not None:
            watched[:-1] = cowatch.codes(snapshot.works.ids)
        return cls(encoded_users, encoded_works, alike, own, watched)


def at_rows(values: NDArray[Any], others: NDArray[Any] | None, rows: NDArray[Any]) -> NDArray[Any]:
    """``values`` at ``rows``; a row behind its own is one of ``others``. Both end with the zeros of row
    −1."""
    if others is None:
        return values.take(rows, axis=0)  # half the time of ``values[rows]``
    n = len(values) - 1
    found = values[np.where(rows < n, rows, -1)]
    behind = rows >= n
    found[behind] = others[rows[behind] - n]
    return found


def beside(table: EncodedTable, others: EncodedTable, rows: NDArray[Any]) -> EncodedTable:
    """The rows ``rows (N,)`` alone, those behind the table's own from ``others``, and a last one of zeros."""
    last = np.append(rows, -1)
    return EncodedTable(
        *(
            at_rows(getattr(table, name), getattr(others, name), last)
            for name in ("ids", "numbers", "moments")
        )
    )


class EncodedOnce:
    """Snapshots, each encoded by whichever thread asks first; an encoding is kept while its snapshot
    lives."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Snapshot, EncodedSnapshot] = WeakKeyDictionary()
        self._encoding = Lock()

    def get(self, snapshot: Snapshot, encode: Callable[[Snapshot], EncodedSnapshot]) -> EncodedSnapshot:
        """What ``encode`` made of ``snapshot``; other threads that ask meanwhile wait for it."""
        found = self._found.get(snapshot)
        if found is None:
            with self._encoding:
                found = self._found.get(snapshot)
                if found is None:
                    found = self._found[snapshot] = encode(snapshot)
        return found
