"""What was exposed in a minute, and what is known of it: works, creators, ages and types as sums that can be
added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from karec.catalog.schema import CREATOR, EXPOSED, PUBLISHED, TYPE
from karec.pipeline.types import Array
from karec.times import HOUR_MS

if TYPE_CHECKING:  # a service without a table ``live`` loads no compiler of folds
    from karec.catalog.snapshot import Snapshot
    from karec.online.changed_items import ChangedItems

FORMAT = 1
YOUNG_HOURS = 24, 72


class Tally(msgspec.Struct):
    """How often each of some ids: both are the bytes of (N,) int64 arrays, ids ascending and unique."""

    ids: bytes = b""
    times: bytes = b""

    @classmethod
    def of(cls, ids: Array, times: Array | None = None) -> Tally:
        """Of ids ≥ 0 that may stand several times. O(N log N)."""
        there = ids >= 0
        each, at = np.unique(ids[there], return_inverse=True)
        weights = None if times is None else times[there]
        counts = np.bincount(at, weights, minlength=len(each))
        return cls(each.astype(np.int64).tobytes(), counts.astype(np.int64).tobytes())

    @classmethod
    def joined(cls, parts: Sequence[Tally]) -> Tally:
        """The sum; the order of ``parts`` does not matter."""
        nothing = [np.empty(0, np.int64)]
        ids = np.concatenate([each.keys() for each in parts] or nothing)
        return cls.of(ids, np.concatenate([each.counts() for each in parts] or nothing))

    def keys(self) -> Array:
        return np.frombuffer(self.ids, np.int64)

    def counts(self) -> Array:
        return np.frombuffer(self.times, np.int64)


class Exposures(msgspec.Struct):
    """Exposures of some time. ``n`` all; ``dated`` those of works whose publishing is known; ``young`` of
    these those younger than 24 and 72 hours; ``types`` by code of the type; ``first`` works that were never
    exposed before, which only the one who merges workers can know.
    """

    format: int = FORMAT
    n: int = 0
    dated: int = 0
    young: tuple[int, int] = (0, 0)
    types: dict[int, int] = {}
    first: int = 0
    works: Tally = msgspec.field(default_factory=Tally)
    creators: Tally = msgspec.field(default_factory=Tally)

    @classmethod
    def joined(cls, parts: Sequence[Exposures]) -> Exposures:
        """The sum; the order of ``parts`` does not matter."""
        types: dict[int, int] = {}
        for each in parts:
            for code, n in each.types.items():
                types[code] = types.get(code, 0) + n
        return cls(
            n=sum(each.n for each in parts),
            dated=sum(each.dated for each in parts),
            young=(sum(each.young[0] for each in parts), sum(each.young[1] for each in parts)),
            types=dict(sorted(types.items())),
            first=sum(each.first for each in parts),
            works=Tally.joined([each.works for each in parts]),
            creators=Tally.joined([each.creators for each in parts]),
        )


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What is known of works: a bundle's, and those that came or changed since."""

    snapshot: Snapshot
    since: ChangedItems | None = None

    def has(self, ids: Array) -> Array:
        """(N,) bool: whether it knows the work."""
        rows = (
            self.snapshot.works.lookup(ids)
            if self.since is None
            else self.since.find_rows(self.snapshot, ids)
        )
        return rows >= 0

    def column(self, name: str, ids: Array, missing: int = -1) -> Array:
        """(N,) int64 of the column of works; ``missing`` for unknown works and where there is no such
        column."""
        base = self.snapshot.works
        found = np.full(len(ids), missing, np.int64)
        if name not in base.columns:
            return found
        rows = base.lookup(ids) if self.since is None else self.since.find_rows(self.snapshot, ids)
        here = (rows >= 0) & (rows < len(base))
        found[here] = base[name][rows[here]]
        if self.since is not None:
            added = rows >= len(base)
            found[added] = self.since.updates.works[name][rows[added] - len(base)]
        return found

    def creators(self) -> Array | None:
        """Who made a work of the catalogue, ascending; None where works name no creator. O(works log
        works)."""
        columns = [self.snapshot.works.columns.get(CREATOR)]
        if columns[0] is None:
            return None
        if self.since is not None:
            columns.append(self.since.uploads.works[CREATOR])
        each = np.unique(
            np.concatenate([np.asarray(column, np.int64) for column in columns if column is not None])
        )
        return each[each >= 0]

    def exposed_before(self, ids: Array) -> Array:
        """(N,) bool: whether the bundle's counters have an exposure of the work; False where nobody
        counts."""
        return self.column(EXPOSED, ids, 0) > 0

    def exposures(self, ids: Array, moments: Array) -> Exposures:
        """Of works ``ids (N,) int64`` exposed at ``moments (N,)``, Unix ms, by which they have their ages."""
        published = self.column(PUBLISHED, ids)
        dated = published > 0
        age = (moments - published)[dated]
        codes, n = np.unique(self.column(TYPE, ids), return_counts=True)
        return Exposures(
            n=len(ids),
            dated=int(dated.sum()),
            young=tuple(int((age < hours * HOUR_MS).sum()) for hours in YOUNG_HOURS),  # type: ignore[arg-type]
            types={code: times for code, times in zip(codes.tolist(), n.tolist(), strict=True) if code >= 0},
            works=Tally.of(ids),
            creators=Tally.of(self.column(CREATOR, ids)),
        )
