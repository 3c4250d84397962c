"""Progress of a refresh and age of a library's vectors, for metrics and ``karec inspect``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.tower_files import INDEX
from karec.refresh.shards import Round, library_folder, list_shards, read_items
from karec.times import HOUR_MS

REFRESHED = "refreshed_ms"  # manifest fact: {model version: time of its oldest vectors}


@dataclass(frozen=True, eq=False)
class VectorStates:
    """State of each work's vector: ``has_vector`` 1 or 0, time of its features, model version."""

    has_vector: NDArray[Any]
    times_ms: NDArray[Any]
    versions: NDArray[Any]


@dataclass(frozen=True)
class LibraryState:
    """State of the works that have a vector.

    round      0: none was started; ``refreshed`` of ``works`` are done in it
    rows       {model version: works}, also of the bundle's own version
    ..._ms     ages of vectors
    """

    model_version: int
    works: int
    round: int
    refreshed: int
    rows: Mapping[int, int]
    youngest_ms: int
    median_ms: int
    oldest_ms: int

    def to_text(self) -> dict[str, str]:
        fraction = self.refreshed / max(self.works, 1)
        ages = (f"{age / HOUR_MS:,.1f} h" for age in (self.youngest_ms, self.median_ms, self.oldest_ms))
        progress = f"{self.round}, {self.refreshed:,} of {self.works:,} works ({fraction:.0%})"
        return {
            "round": progress if self.round else "none",
            "works by model version": ", ".join(
                f"{version}: {n:,}" for version, n in sorted(self.rows.items())
            ),
            "age of vectors": "youngest {}, median {}, oldest {}".format(*ages),
        }


def vector_states(bundle: Bundle) -> VectorStates:
    """Returns the newest state of each work from index and shards. O(works of bundle and shards)."""
    works = bundle.snapshot.works
    rows = bundle.index.lookup(np.asarray(works.ids))
    versions = bundle.index.model_versions_of(rows)
    first_times: Mapping[str, Any] = bundle.facts.get(REFRESHED, {})
    times_ms = np.full(len(works), bundle.snapshot.time_ms)
    for number, moment in first_times.items():
        times_ms[versions == int(number)] = int(moment)
    for ids, refreshed_ms, version in read_items(list_shards(library_folder(bundle.path)), INDEX):
        work_rows = works.lookup(ids)
        is_known = work_rows >= 0
        times_ms[work_rows[is_known]] = refreshed_ms[is_known]
        versions[work_rows[is_known]] = version
    return VectorStates(np.asarray(rows >= 0, np.int64), times_ms, versions)


def library_state(bundle: Bundle, now_ms: int) -> LibraryState:
    """Reads the state from the files. Raises DataError if the round's file is damaged."""
    states, library = vector_states(bundle), library_folder(bundle.path)
    current = Round.open(library)
    number = 0 if current is None else current.number
    finished = [shard for shard in list_shards(library) if shard.round == number and not shard.ends_round]
    has_vector = states.has_vector > 0
    numbers, counts = np.unique(states.versions[has_vector], return_counts=True)
    ages = np.maximum(now_ms - states.times_ms[has_vector], 0)
    quantiles = np.quantile(ages, [0, 0.5, 1]).astype(np.int64).tolist() if len(ages) else [0, 0, 0]
    refreshed = 0 if current is None else sum(len(current.ids(shard.number)) for shard in finished)
    rows = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    return LibraryState(bundle.model_version, int(has_vector.sum()), number, refreshed, rows, *quantiles)
