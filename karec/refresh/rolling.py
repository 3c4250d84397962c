"""Rolling refresh: the item tower over the library of a bundle, shard after shard, round after round.

    features of the works as of the round's beginning → item tower → a shard beside the bundles
    (``refresh.shards``) counters as the state store has them when a shard is made, where there is one

A service adds shards to its index while it serves (``refresh.following``). Where an earlier model version has
rows in the bundle's index (``refresh.roll_in``), each shard moves its works to the bundle's own version, and
the first round ends it.

Killed    At any moment: what is there is whole. The next refresh goes on with the round that was begun, at
          the first shard that is missing, and ends in the same vectors as one that was not interrupted.
Cost      The item tower, once a work and round, at the share of a core that ``Pace`` leaves it; disk for two
          rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.in_use import alone_in
from karec.bundle.vector_spaces import PRERANK, RECALL, Space, spaces_of
from karec.catalog.schema import EXPOSED
from karec.errors import DataError
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import ROLES, kind_index, songs_and_creators
from karec.refresh.item_vectors import item_vectors
from karec.refresh.library_state import known_of
from karec.refresh.pace import Pace
from karec.refresh.rounds import Round, order_of
from karec.refresh.shards import (
    KINDS,
    LAST,
    LIBRARY,
    MOMENT,
    library_of,
    remove_unfinished,
    retire_before,
    shards_in,
    write_shard,
)
from karec.times import Progress

Counts = Callable[[NDArray[Any]], NDArray[Any]]
SIZE = 16_384  # works of a shard: a second of one core


@contextmanager
def refreshing(bundle: Bundle, counts: Counts | None = None) -> Iterator[Refresh]:
    """The one refresh of ``bundle``'s library, until the block ends. DataError: another one is at work.

    ``counts(ids)`` gives the counters of works as they are now, as ``refresh.item_vectors`` says; None: the
    snapshot's.
    """
    library = library_of(bundle.path)
    library.mkdir(parents=True, exist_ok=True)
    with alone_in(library, wait=False) as alone:
        if not alone:
            raise DataError(f"another refresh works in {library}: one at a time")
        remove_unfinished(library)
        yield Refresh(bundle, library, counts)


@dataclass(frozen=True, eq=False)
class Refresh:
    """Makes the rounds of one bundle's library. ``refreshing`` gives it."""

    bundle: Bundle
    library: Path
    counts: Counts | None = None

    def begin(self, now_ms: int, size: int = SIZE) -> Round:
        """The round that is not whole yet, or else the next one, as of ``now_ms``.

        DataError: the round that was begun is of other item towers than the bundle's.
        """
        spaces = {space.index: name for space, name in self._spaces().items()}
        former = Round.open(self.library)
        if former is not None and (former.spaces, former.model_version) != (
            spaces,
            self.bundle.model_version,
        ):
            raise DataError(f"{self.library} is of other item towers than {self.bundle.path}: remove it")
        if former is not None and not self._is_whole(former):
            return former
        known = known_of(self.bundle)
        works = self.bundle.snapshot.works
        exposed = np.asarray(works[EXPOSED]) if EXPOSED in works.columns else np.zeros(len(works))
        at = np.flatnonzero(known.works > 0)
        order = order_of(np.asarray(works.ids)[at], now_ms - known.moments[at], exposed[at])
        begun = Round(
            1 if former is None else former.number + 1, now_ms, size, order, self.bundle.model_version, spaces
        )
        begun.save(self.library)
        return begun

    def run(
        self,
        begun: Round,
        pace: Pace,
        progress: Progress | None = None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Makes the shards of ``begun`` that are missing; then those of earlier rounds go. ``goes_on`` is
        asked before each shard: where it is False, the rest stays missing."""
        done = {shard.number for shard in shards_in(self.library) if shard.round == begun.number}
        for number in range(begun.n_shards):
            if not goes_on():
                return
            if number not in done:
                ids = begun.ids(number)
                made = {
                    space.index: self._refreshed(space, ids, begun.began_ms, pace) for space in self._spaces()
                }
                write_shard(self.library, begun.number, number, made)
            if progress is not None:
                progress(
                    min((number + 1) * begun.size, len(begun.order)),
                    len(begun.order),
                    f"round {begun.number}",
                )
        if LAST not in done:
            write_shard(self.library, begun.number, LAST, self._kinds())
        retire_before(self.library, begun.number)

    def _spaces(self) -> dict[Space, int]:
        """The item towers that the bundle has, of the spaces in which it has vectors. DataError: none for its
        works."""
        found = spaces_of(self.bundle.path)
        if PRERANK not in found:
            raise DataError(f"{self.bundle.path} has no {PRERANK.item}: nothing can refresh its vectors")
        if self.bundle.recall_index is None:
            found.pop(RECALL, None)
        elif RECALL not in found:
            raise DataError(
                f"{self.bundle.path} has {RECALL.index} and no {RECALL.item}: nothing can refresh it"
            )
        return found

    def _is_whole(self, begun: Round) -> bool:
        return any(shard.round == begun.number and shard.ends_round for shard in shards_in(self.library))

    def _refreshed(self, space: Space, ids: NDArray[Any], time_ms: int, pace: Pace) -> ItemIndex:
        """The vectors of works in ``space`` as of ``time_ms``, with their moment."""
        bundle, vectors = self.bundle, []
        tower: OnnxModel = bundle.item_tower_of(space)
        rows = bundle.snapshot.works.lookup(ids)
        for piece in item_vectors(bundle.snapshot, bundle.encoder, tower, rows, time_ms, self.counts):
            vectors.append(piece)
            pace.rest()
        dtype = bundle.index_of(space).dtype
        return ItemIndex.build(
            ids,
            np.concatenate(vectors),
            dtype="float16" if dtype == np.float16 else "float32",
            columns={MOMENT: np.full(len(ids), time_ms)},
            model_version=bundle.model_version,
            space_id=self._spaces()[space],
        )

    def _kinds(self) -> dict[str, ItemIndex]:
        """The vectors of songs and creators, of the works' newest ones."""
        if not set(self.bundle.kinds) & ROLES.keys():
            return {}
        LibraryFollower().catch_up(self.bundle)
        made = songs_and_creators(self.bundle.snapshot)
        kinds = {name: made[name] for name in self.bundle.kinds if name in made}
        works = self.bundle.index
        return {
            f"{KINDS}/{name}.karec": kind_index(each, self.bundle.snapshot, works)
            for name, each in kinds.items()
        }


def remove_retired(root: Path) -> None:
    """Removes the libraries of bundles that are no longer published under ``root``."""
    for library in (root / LIBRARY).glob("v*"):
        if not (root / library.name).exists():
            rmtree(library, ignore_errors=True)
