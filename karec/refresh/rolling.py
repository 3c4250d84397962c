"""Rolling refresh: the item tower over the library of a bundle, shard by shard, round by round.

    features of works as of the round's start → item tower → a shard next to the bundles (``refresh.shards``);
    counters are those of the online store when the shard is computed, if there is one

A service adds shards to its index while it serves (``refresh.follow``). If the bundle's index has rows of an
earlier model version (``refresh.next_version``), each shard moves its works to the bundle's version, and the
first round completes it.

Kill   At any time; all shards are whole. The next refresh continues the round at the first missing shard and
       ends with the same vectors.
Cost   The item tower once per work and round, at the fraction of a core that ``CpuLimit`` allows; disk space
       for two rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.in_use import lock_exclusively
from karec.bundle.tower_files import INDEX, ITEM_TOWER, space_id_of
from karec.catalog.schema import EXPOSED
from karec.errors import DataError
from karec.index import ItemIndex
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import WORKS, DerivedItemType, build_item_type_index, songs_and_creators
from karec.refresh.item_vectors import item_vectors
from karec.refresh.library_state import vector_states
from karec.refresh.shards import (
    KINDS,
    LAST,
    LIBRARY,
    REFRESHED_MS,
    Round,
    library_folder,
    list_shards,
    refresh_order,
    remove_earlier_rounds,
    remove_unfinished,
    write_shard,
)
from karec.times import Progress

Counts = Callable[[NDArray[Any]], NDArray[Any]]
SIZE = 16_384  # works per shard: one second of one core


class CpuLimit:
    """Limit of the CPU time of a process that works in pieces: ``share`` of a core on average; 1: no limit.

    ``wait(seconds)``, ``cpu_s()`` (CPU seconds of the process) and ``now_s()`` replace the clock in tests.
    Raises ValueError unless 0 < share ≤ 1.
    """

    def __init__(
        self,
        share: float,
        wait: Callable[[float], object] = time.sleep,
        cpu_s: Callable[[], float] = time.process_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share:g}, expected a fraction of a core above 0 and at most 1")
        self.share, self._wait, self._cpu_s, self._now_s = share, wait, cpu_s, now_s
        self._start = (cpu_s(), now_s())

    def rest(self) -> None:
        """Waits after a piece of work until the average is within the limit."""
        used_s = self._cpu_s() - self._start[0]
        elapsed_s = self._now_s() - self._start[1]
        pause_s = used_s / self.share - elapsed_s
        if self.share < 1 and pause_s > 0:
            self._wait(pause_s)
        self._start = (self._cpu_s(), self._now_s())


@contextmanager
def open_refresh(bundle: Bundle, counts: Counts | None = None) -> Iterator[Refresh]:
    """Opens the only refresh of ``bundle``'s library. Raises DataError if another one is running.

    ``counts(ids)``: current counters of works, see ``item_vectors``; None: the snapshot's.
    """
    library = library_folder(bundle.path)
    library.mkdir(parents=True, exist_ok=True)
    with lock_exclusively(library, wait=False) as is_alone:
        if not is_alone:
            raise DataError(f"{library}: another refresh is running. Wait until it ends.")
        remove_unfinished(library)
        yield Refresh(bundle, library, counts)


@dataclass(frozen=True, eq=False)
class Refresh:
    """Computes the rounds of one bundle's library. Opened by ``open_refresh``."""

    bundle: Bundle
    library: Path
    counts: Counts | None = None

    def start_round(self, now_ms: int, size: int = SIZE) -> Round:
        """Returns the unfinished round, or the next one, as of ``now_ms``.

        Raises DataError if the unfinished round is of another item tower than the bundle's.
        """
        space_id = self._space_id()
        former = Round.open(self.library)
        if former is not None and (former.space_id, former.model_version) != (
            space_id,
            self.bundle.model_version,
        ):
            raise DataError(f"{self.library}: not of the item tower of {self.bundle.path}. Remove it.")
        if former is not None and not self._is_whole(former):
            return former
        states = vector_states(self.bundle)
        works = self.bundle.snapshot.works
        exposures = np.asarray(works[EXPOSED]) if EXPOSED in works.columns else np.zeros(len(works))
        has_vector = np.flatnonzero(states.has_vector > 0)
        order = refresh_order(
            np.asarray(works.ids)[has_vector], now_ms - states.times_ms[has_vector], exposures[has_vector]
        )
        number = 1 if former is None else former.number + 1
        new_round = Round(number, now_ms, size, order, self.bundle.model_version, space_id)
        new_round.save(self.library)
        return new_round

    def run(
        self,
        current: Round,
        cpu_limit: CpuLimit | None = None,
        progress: Progress | None = None,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> None:
        """Computes the missing shards of ``current``, then removes earlier rounds.

        Stops before a shard if ``should_continue`` returns False.
        """
        done = {shard.number for shard in list_shards(self.library) if shard.round == current.number}
        for number in range(current.n_shards):
            if not should_continue():
                return
            if number not in done:
                ids = current.ids(number)
                index = self._encode(ids, current.began_ms, cpu_limit)
                write_shard(self.library, current.number, number, {INDEX: index})
            if progress is not None:
                progress(
                    min((number + 1) * current.size, len(current.order)),
                    len(current.order),
                    f"round {current.number}",
                )
        if LAST not in done:
            write_shard(self.library, current.number, LAST, self._item_types())
        remove_earlier_rounds(self.library, current.number)

    def _space_id(self) -> int:
        """Returns the space id of the bundle's item tower. Raises DataError if there is none."""
        if not (self.bundle.path / ITEM_TOWER).exists():
            raise DataError(f"{self.bundle.path}: {ITEM_TOWER} is missing, so no refresh is possible")
        return space_id_of(self.bundle.path / ITEM_TOWER)

    def _is_whole(self, current: Round) -> bool:
        return any(shard.round == current.number and shard.ends_round for shard in list_shards(self.library))

    def _encode(self, ids: NDArray[Any], time_ms: int, cpu_limit: CpuLimit | None) -> ItemIndex:
        """Returns the vectors of works as of ``time_ms``, with that time as column."""
        bundle, vectors = self.bundle, []
        rows = bundle.snapshot.works.lookup(ids)
        for chunk in item_vectors(
            bundle.snapshot, bundle.encoder, bundle.item_tower, rows, time_ms, self.counts
        ):
            vectors.append(chunk)
            if cpu_limit is not None:
                cpu_limit.rest()
        return ItemIndex.build(
            ids,
            np.concatenate(vectors),
            dtype="float16" if bundle.index.dtype == np.float16 else "float32",
            columns={REFRESHED_MS: np.full(len(ids), time_ms)},
            model_version=bundle.model_version,
            space_id=self._space_id(),
        )

    def _item_types(self) -> dict[str, ItemIndex]:
        """Returns the vectors of all item types, from the works' newest ones."""
        bundle = self.bundle
        if not bundle.item_types:
            return {}
        LibraryFollower().catch_up(bundle)
        derived = songs_and_creators(bundle.snapshot)
        indices = {}
        for name in bundle.item_types:
            folder = bundle.path / KINDS / name
            is_derived = name in derived and not (folder / WORKS).exists()
            item_type = derived[name] if is_derived else DerivedItemType.open(folder)
            indices[f"{KINDS}/{name}.karec"] = build_item_type_index(item_type, bundle.snapshot, bundle.index)
        return indices


def remove_retired_libraries(root: Path) -> None:
    """Removes the libraries of bundles that are no longer published under ``root``."""
    for library in (root / LIBRARY).glob("v*"):
        if not (root / library.name).exists():
            rmtree(library, ignore_errors=True)
