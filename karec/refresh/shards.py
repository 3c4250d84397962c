"""Shards of a library: what one step of a refresh made, as files beside the bundles that a service adds to
its index.

    ROOT/library/v0000000007/                           of the bundle v0000000007
        round.npz                                       the round that is being made: its order, and when it
                                                        began
        0000000003-0000000012/index.karec               shard 12 of round 3: index files without other columns
                                                        than
                              recall.karec              ``refreshed_ms``; recall's own space where the bundle
                                                        has one
        0000000003-9999999999/kinds/song.karec          the last shard of a round: the kinds of items, all of
                                                        each

A shard appears whole, by one rename, and never changes. A round's shards hold every work once. When a round
is whole, those of the round before go: whoever begins with the oldest shard that is there, and adds all in
their order, has the newest vector of every work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.files import ASIDE, folder_aside, remove_folder
from karec.index import ItemIndex

LIBRARY = "library"
LAST = 9_999_999_999  # the number of the shard that ends a round
MOMENT = "refreshed_ms"  # the column of a shard: when the features were what its vectors say
KINDS = "kinds"
_NAME = re.compile(r"([0-9]{10})-([0-9]{10})")
_LEFTOVER = re.compile(_NAME.pattern + ASIDE)


@dataclass(frozen=True, order=True)
class Shard:
    """A shard's place in the order of all shards, and its folder."""

    round: int
    number: int
    path: Path

    @property
    def ends_round(self) -> bool:
        return self.number == LAST

    def index(self, name: str) -> ItemIndex | None:
        """The index file ``name`` of the shard, checked; None where it has none. FileNotFoundError: it is
        gone."""
        path = self.path / name
        if not path.exists() and self.path.exists():
            return None
        return ItemIndex.open(path, copy=True)


def library_of(bundle: Path) -> Path:
    """Where the shards of the bundle in the folder ``bundle`` lie."""
    return bundle.parent / LIBRARY / bundle.name


def shards_in(library: Path) -> list[Shard]:
    """In their order; none where the folder is not there."""
    found = []
    with suppress(FileNotFoundError):
        for name in os.listdir(library):
            parts = _NAME.fullmatch(name)
            if parts is not None:
                found.append(Shard(int(parts[1]), int(parts[2]), library / name))
    return sorted(found)


def write_shard(library: Path, round_number: int, number: int, indices: dict[str, ItemIndex]) -> Shard:
    """Puts ``indices`` {file: index} there as one shard: whole and on the disk when this returns."""
    path = library / f"{round_number:010d}-{number:010d}"
    with folder_aside(path) as aside:
        for name, index in indices.items():
            (Path(aside) / name).parent.mkdir(exist_ok=True)
            index.save(Path(aside) / name)
    return Shard(round_number, number, path)


def retire_before(library: Path, round_number: int) -> None:
    """Removes the shards of earlier rounds."""
    for shard in shards_in(library):
        if shard.round < round_number:
            remove_folder(shard.path)


def remove_unfinished(library: Path) -> None:
    """Removes what a writer that was killed left. Only the one writer of the folder may call it."""
    for path in list(library.iterdir()):
        if _LEFTOVER.fullmatch(path.name):
            remove_folder(path)


def works_of(shards: list[Shard], file: str) -> Iterator[tuple[NDArray[Any], NDArray[Any], int]]:
    """(ids, moments, model version) of each of ``shards`` that has ``file``; one that is retired meanwhile is
    left out.

    O(works); vectors are not read.
    """
    for shard in shards:
        with suppress(FileNotFoundError):
            index = ItemIndex.open(shard.path / file, verify=False)
            yield np.asarray(index.ids), np.asarray(index.columns[MOMENT]), index.model_version
