"""How far a refresh is, and how old the vectors of a library are: numbers for metrics and for ``karec
inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.vector_spaces import PRERANK
from karec.refresh.rounds import Round
from karec.refresh.shards import library_of, shards_in, works_of
from karec.times import HOUR_MS

MADE = "refreshed_ms"  # fact of a manifest: {model version: when the first vectors of that version were made}


@dataclass(frozen=True, eq=False)
class Known:
    """Of each work of a bundle's snapshot: whether it has a vector (``works`` 1 or 0), its moment, its
    version."""

    works: NDArray[Any]
    moments: NDArray[Any]
    versions: NDArray[Any]


@dataclass(frozen=True)
class LibraryState:
    """Of works that have a vector. ``round`` 0: none was begun; ``refreshed`` of ``works`` are done in it.
    Ages are of vectors, in milliseconds; ``rows`` {model version: works}, the bundle's own among them."""

    model_version: int
    works: int
    round: int
    refreshed: int
    rows: Mapping[int, int]
    youngest_ms: int
    median_ms: int
    oldest_ms: int

    @property
    def is_mixed(self) -> bool:
        return len(self.rows) > 1

    def facts(self) -> dict[str, str]:
        """For people: {what: how much}."""
        share = self.refreshed / max(self.works, 1)
        ages = (f"{age / HOUR_MS:,.1f} h" for age in (self.youngest_ms, self.median_ms, self.oldest_ms))
        done = f"{self.round}, {self.refreshed:,} of {self.works:,} works ({share:.0%})"
        return {
            "round": done if self.round else "none",
            "works by model version": ", ".join(
                f"{version}: {n:,}" for version, n in sorted(self.rows.items())
            ),
            "age of vectors": "youngest {}, median {}, oldest {}".format(*ages),
        }


def known_of(bundle: Bundle) -> Known:
    """What the bundle's index file and its shards say, the newest of each work. O(works of bundle and
    shards)."""
    works = bundle.snapshot.works
    rows = bundle.index.lookup(np.asarray(works.ids))
    versions = bundle.index.model_versions_of(rows)
    made: Mapping[str, Any] = bundle.facts.get(MADE, {})
    moments = np.full(len(works), bundle.snapshot.time_ms)
    for number, moment in made.items():
        moments[versions == int(number)] = int(moment)
    for ids, refreshed_ms, version in works_of(shards_in(library_of(bundle.path)), PRERANK.index):
        at = works.lookup(ids)
        moments[at[at >= 0]], versions[at[at >= 0]] = refreshed_ms[at >= 0], version
    return Known(np.asarray(rows >= 0, np.int64), moments, versions)


def library_state(bundle: Bundle, now_ms: int) -> LibraryState:
    """Read from the files, whoever refreshes. DataError: the round's file is damaged."""
    known, library = known_of(bundle), library_of(bundle.path)
    begun = Round.open(library)
    number = 0 if begun is None else begun.number
    done = [shard for shard in shards_in(library) if shard.round == number and not shard.ends_round]
    have = known.works > 0
    numbers, counts = np.unique(known.versions[have], return_counts=True)
    ages = np.maximum(now_ms - known.moments[have], 0)
    quantiles = np.quantile(ages, [0, 0.5, 1]).astype(np.int64).tolist() if len(ages) else [0, 0, 0]
    refreshed = 0 if begun is None else sum(len(begun.ids(shard.number)) for shard in done)
    rows = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    return LibraryState(bundle.model_version, int(have.sum()), number, refreshed, rows, *quantiles)
