"""Rolling refresh: the item tower over the library of a bundle, shard by shard, round by round.

    features of works as of the round's start → item tower → a shard next to the bundles (``refresh.shards``);
    counters are those of the online store when the shard is computed, if there is one

A service adds shards to its index while it serves (``refresh.follow``). If the bundle's index has rows of an
earlier model version (``refresh.next_version``), each shard moves its works to the bundle's version, and the
first round completes it.

Workers   Several processes share a round (``refresh.workers``). The first one writes its file; the one that
          finds all shards writes the last shard, which ends it. They exchange nothing but these files.
Kill      At any time; all shards are whole. The same worker, started again, continues at its first missing
          shard, and the round ends with the same vectors.
Cost      The item tower once per work and round, at the fraction of a core that ``CpuLimit`` allows; disk
          space for two rounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.manifest import MANIFEST
from karec.bundle.tower_files import INDEX, ITEM_TOWER, space_id_of
from karec.catalog.schema import EXPOSED
from karec.errors import DataError
from karec.index import ItemIndex
from karec.refresh.cpu_limit import CpuLimit
from karec.refresh.item_types import WORKS, DerivedItemType, build_item_type_index, songs_and_creators
from karec.refresh.item_vectors import item_vectors
from karec.refresh.library_state import vector_states
from karec.refresh.shards import (
    KINDS,
    LAST,
    LIBRARY,
    REFRESHED_MS,
    Round,
    Shard,
    library_folder,
    list_shards,
    refresh_order,
    remove_earlier_rounds,
    remove_unfinished,
    shard_folder,
    write_shard,
)
from karec.refresh.workers import ONLY, Worker, lock_file
from karec.times import Progress

Counts = Callable[[NDArray[Any]], NDArray[Any]]
SIZE = 16_384  # works per shard: one second of one core
LOCK = "round.lock"  # of the process that starts or ends a round


@contextmanager
def open_refresh(bundle: Bundle, counts: Counts | None = None, worker: Worker = ONLY) -> Iterator[Refresh]:
    """Opens the refresh of ``bundle``'s library by ``worker``. Raises DataError if it is running already.

    ``counts(ids)``: current counters of works, see ``item_vectors``; None: the snapshot's.
    """
    library = library_folder(bundle.path)
    library.mkdir(parents=True, exist_ok=True)
    with lock_file(library / f"worker-{worker.number:010d}.lock", wait=False) as is_alone:
        if not is_alone:
            raise DataError(
                f"{library}: another refresh is running as worker {worker.number}. Wait until it ends."
            )
        # another worker may be writing the last shard
        remove_unfinished(library, lambda number: number != LAST and worker.owns(number))
        yield Refresh(bundle, library, counts, worker)


@dataclass(frozen=True, eq=False)
class Refresh:
    """Computes a worker's shards of the rounds of one bundle's library. Opened by ``open_refresh``."""

    bundle: Bundle
    library: Path
    counts: Counts | None
    worker: Worker

    def start_round(self, now_ms: int, size: int = SIZE, job: str = "") -> Round:
        """Returns the round that the worker takes part in; starts it, as of ``now_ms``, if it is the first.

        ``job``: a name that workers have in common which are started together. They share one round, also if
        one is started again after its end. "": the worker continues the unfinished round, or starts the next.

        Raises DataError if the round is of another item tower or manifest than the bundle's, or has another
        number of workers; or if the job has started a round of another bundle.
        """
        manifest = sha256((self.bundle.path / MANIFEST).read_bytes()).hexdigest()
        space_id, version, workers = self._space_id(), self.bundle.model_version, self.worker.count
        with lock_file(self.library / LOCK, wait=True):
            former = Round.open(self.library)
            if former is not None:
                if (former.space_id, former.model_version, former.manifest) != (space_id, version, manifest):
                    raise DataError(
                        f"{self.library}: not of the item tower or manifest of {self.bundle.path}. Remove it."
                    )
                if former.job == job if job else LAST not in self._done(former):
                    if former.n_workers != workers:
                        raise DataError(
                            f"{self.library}: worker is {self.worker}, but round {former.number} has "
                            f"{former.n_workers} workers. Start them as s/{former.n_workers}."
                        )
                    return former
            self._check_job(job)
            number = 1 if former is None else former.number + 1
            order = self._order(now_ms)
            current = Round(number, now_ms, size, order, version, space_id, manifest, workers, job)
            current.save(self.library)
            return current

    def run(
        self,
        current: Round,
        cpu_limit: CpuLimit | None = None,
        progress: Progress | None = None,
        should_continue: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Computes the worker's missing shards of ``current``. Returns True if the round is whole then.

        If no shard is missing, writes the last one and removes earlier rounds. Stops before a shard if
        ``should_continue`` returns False. Raises DataError or IndexFormatError for a damaged shard.
        """
        done, mine = self._done(current), self.worker.shards(current.n_shards)
        n_works, n_encoded = sum(len(current.ids(number)) for number in mine), 0
        for number in mine:
            if not should_continue():
                return False
            ids = current.ids(number)
            if number not in done and LAST not in done:
                index = self._encode(ids, current.began_ms, cpu_limit)
                write_shard(self.library, current.number, number, {INDEX: index})
            n_encoded += len(ids)
            if progress is not None:
                progress(n_encoded, n_works, f"round {current.number}")
        with lock_file(self.library / LOCK, wait=True):
            done = self._done(current)
            if LAST not in done:
                if len(done) < current.n_shards:
                    return False
                remove_unfinished(self.library, lambda number: number == LAST)
                write_shard(self.library, current.number, LAST, self._item_types(current))
            remove_earlier_rounds(self.library, current.number)
        return True

    def _order(self, now_ms: int) -> NDArray[Any]:
        states, works = vector_states(self.bundle), self.bundle.snapshot.works
        exposures = np.asarray(works[EXPOSED]) if EXPOSED in works.columns else np.zeros(len(works))
        rows = np.flatnonzero(states.has_vector > 0)
        return refresh_order(np.asarray(works.ids)[rows], now_ms - states.times_ms[rows], exposures[rows])

    def _done(self, current: Round) -> set[int]:
        return {shard.number for shard in list_shards(self.library) if shard.round == current.number}

    def _check_job(self, job: str) -> None:
        """Raises DataError if workers of ``job`` have started a round of another bundle."""
        for library in self.library.parent.glob("v*"):
            other = Round.open(library) if job and library != self.library else None
            if other is not None and other.job == job:
                raise DataError(
                    f"{library}: the job {job!r} started with the bundle {library.name}, expected "
                    f"{self.bundle.path.name}, the current one. Start another job."
                )

    def _vectors(self, current: Round) -> Iterator[ItemIndex]:
        """Reads, checks and yields the vectors of each shard of a round. O(N·D) bytes in total."""
        for number in range(current.n_shards):
            shard = Shard(current.number, number, shard_folder(self.library, current.number, number))
            index = shard.index(INDEX)
            versions = () if index is None else tuple((v.number, v.space_id) for v in index.versions)
            if (
                index is None
                or not np.array_equal(index.ids, current.ids(number))
                or versions != ((current.model_version, current.space_id),)
            ):
                raise DataError(
                    f"{shard.path}: {INDEX} is missing, or of other works or another item tower. Remove the "
                    f"folder and start the worker {number % current.n_workers}/{current.n_workers} again."
                )
            yield index

    def _space_id(self) -> int:
        """Returns the space id of the bundle's item tower. Raises DataError if there is none."""
        if not (self.bundle.path / ITEM_TOWER).exists():
            raise DataError(f"{self.bundle.path}: {ITEM_TOWER} is missing, so no refresh is possible")
        return space_id_of(self.bundle.path / ITEM_TOWER)

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

    def _item_types(self, current: Round) -> dict[str, ItemIndex]:
        """Returns the vectors of all item types, from those of the shards, one shard at a time in memory."""
        bundle, indices = self.bundle, {}
        deque(self._vectors(current), maxlen=0)  # checks all shards, also if there are no item types
        derived = songs_and_creators(bundle.snapshot) if bundle.item_types else {}
        for name in bundle.item_types:
            folder = bundle.path / KINDS / name
            is_derived = name in derived and not (folder / WORKS).exists()
            item_type = derived[name] if is_derived else DerivedItemType.open(folder)
            indices[f"{KINDS}/{name}.karec"] = build_item_type_index(
                item_type, bundle.snapshot, bundle.index, self._vectors(current)
            )
        return indices


def remove_retired_libraries(root: Path) -> None:
    """Removes the libraries of bundles that are no longer published under ``root``."""
    for library in (root / LIBRARY).glob("v*"):
        if not (root / library.name).exists():
            rmtree(library, ignore_errors=True)
