"""Rounds and shards of a library: the item vectors of a refresh, as files next to the bundles.

    ROOT/library/v0000000007/                           of the bundle v0000000007
        round.npz                                       the current round: its order, start and workers
        0000000003-0000000012/index.karec               shard 12 of round 3; its only column is
                                                        ``refreshed_ms``
        0000000003-9999999999/kinds/song.karec          last shard of a round: the item types, all of each

A shard appears complete, by one rename, and never changes. The shards of a round contain each work once, and
appear in any order if it has several workers; the last one appears when all others are there. Then the shards
of the previous round are removed. A process that adds all shards, round by round, has the newest vector of
each work.

Order   Largest age · (1 + log(1 + exposures)) first, then by id. So no vector becomes older than a round, and
        frequently shown works are refreshed first.
Time    All features of a round are as of its start, so a killed round resumes with the same vectors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import INDEX
from karec.errors import DataError
from karec.files import ASIDE, file_aside, folder_aside, parse_json, read_npz, remove_folder
from karec.index import ItemIndex

LIBRARY = "library"
LAST = 9_999_999_999  # number of the last shard of a round
REFRESHED_MS = "refreshed_ms"  # column of a shard: time of the features
ROUND_FILE, ROUND_FORMAT = "round.npz", 1
KINDS = "kinds"
_NAME = re.compile(r"([0-9]{10})-([0-9]{10})")
_LEFTOVER = re.compile(_NAME.pattern + ASIDE)


@dataclass(frozen=True, order=True)
class Shard:
    round: int
    number: int
    path: Path

    @property
    def key(self) -> tuple[int, int]:
        return self.round, self.number

    @property
    def ends_round(self) -> bool:
        return self.number == LAST

    def index(self, name: str) -> ItemIndex | None:
        """Returns the checked index file ``name``, or None if the shard lacks it. Raises FileNotFoundError if
        the shard is gone."""
        path = self.path / name
        if not path.exists() and self.path.exists():
            return None
        return ItemIndex.open(path, copy=True)


@dataclass(frozen=True, eq=False)
class Round:
    """One round: each work of a bundle's snapshot with a vector, once, in shards.

    order       (N,) work ids; shard n has those from n·size on, sorted
    space_id    of the item tower
    manifest    SHA-256 of the bundle's manifest
    n_workers   number of processes that share the round
    job         name that these processes share; "": none
    """

    number: int
    began_ms: int
    size: int
    order: NDArray[Any]
    model_version: int
    space_id: int
    manifest: str
    n_workers: int
    job: str

    @property
    def n_shards(self) -> int:
        return -(-len(self.order) // self.size)

    def ids(self, shard: int) -> NDArray[Any]:
        return np.sort(self.order[shard * self.size : (shard + 1) * self.size])  # sorted: faster look-ups

    def save(self, library: Path) -> None:
        """Writes the round's file atomically; until then the previous round is the current one."""
        head = {
            "format": ROUND_FORMAT,
            "round": self.number,
            "began_ms": self.began_ms,
            "size": self.size,
            "model_version": self.model_version,
            "spaces": {INDEX: f"{self.space_id:016x}"},
            "manifest": self.manifest,
            "workers": self.n_workers,
            "job": self.job,
        }
        with file_aside(library / ROUND_FILE) as file:
            np.savez(file, head=np.frombuffer(json.dumps(head).encode(), np.uint8), order=self.order)

    @classmethod
    def open(cls, library: Path) -> Round | None:
        """Returns None if no round was started. Raises DataError if the file is damaged."""
        path = library / ROUND_FILE
        if not path.exists():
            return None
        try:
            arrays = read_npz(path)
            head: Any = parse_json(arrays["head"].tobytes())
            if head["format"] != ROUND_FORMAT:
                raise ValueError(f"format is {head['format']}, expected {ROUND_FORMAT}")
            space_id = int(head["spaces"][INDEX], 16)
            names = ("round", "began_ms", "size", "model_version", "workers")
            number, began_ms, size, version, n_workers = (int(head[name]) for name in names)
            manifest, job = (str(head[name]) for name in ("manifest", "job"))
            order = arrays["order"]
            if order.dtype != np.int64 or order.ndim != 1 or min(number, size, n_workers) < 1:
                raise ValueError("order is not a list of ids, or a number is below 1")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}: not a round of a refresh ({error}). Remove it; then a new round starts."
            ) from error
        return cls(number, began_ms, size, order, version, space_id, manifest, n_workers, job)


def refresh_order(ids: NDArray[Any], age_ms: NDArray[Any], exposures: NDArray[Any]) -> NDArray[Any]:
    """Returns ``ids (N,)`` in the order of a round. O(N log N)."""
    priority = np.maximum(age_ms, 0) * (1.0 + np.log1p(np.maximum(exposures, 0)))
    return np.asarray(ids[np.lexsort((ids, -priority))], np.int64)


def shard_folder(library: Path, round_number: int, number: int) -> Path:
    return library / f"{round_number:010d}-{number:010d}"


def library_folder(bundle: Path) -> Path:
    return bundle.parent / LIBRARY / bundle.name


def list_shards(library: Path) -> list[Shard]:
    """Returns the shards in their order; none if the folder does not exist."""
    shards = []
    with suppress(FileNotFoundError):
        for name in os.listdir(library):
            parts = _NAME.fullmatch(name)
            if parts is not None:
                shards.append(Shard(int(parts[1]), int(parts[2]), library / name))
    return sorted(shards)


def unfinished_job(library: Path, n_workers: int) -> str:
    """Returns the job of the current round if it has not ended and has ``n_workers`` workers, else ""."""
    current = Round.open(library)
    if current is None or current.n_workers != n_workers:
        return ""
    is_whole = any(shard.round == current.number and shard.ends_round for shard in list_shards(library))
    return "" if is_whole else current.job


def write_shard(library: Path, round_number: int, number: int, indices: dict[str, ItemIndex]) -> Shard:
    """Writes ``indices`` {file: index} as one shard, atomically and durably."""
    path = shard_folder(library, round_number, number)
    with folder_aside(path) as aside:
        for name, index in indices.items():
            (Path(aside) / name).parent.mkdir(exist_ok=True)
            index.save(Path(aside) / name)
    return Shard(round_number, number, path)


def remove_earlier_rounds(library: Path, round_number: int) -> None:
    for shard in list_shards(library):
        if shard.round < round_number:
            remove_folder(shard.path)


def remove_unfinished(library: Path, is_mine: Callable[[int], bool]) -> None:
    """Removes files of a killed writer of the shards for whose number ``is_mine`` returns True.

    Only the single writer of these shards may call it.
    """
    for path in list(library.iterdir()):
        leftover = _LEFTOVER.fullmatch(path.name)
        if leftover is not None and is_mine(int(leftover[2])):
            remove_folder(path)


def read_items(shards: list[Shard], file: str) -> Iterator[tuple[NDArray[Any], NDArray[Any], int]]:
    """Yields (ids, times, model version) of each shard that has ``file``, without shards removed meanwhile.

    O(works); vectors are not read.
    """
    for shard in shards:
        with suppress(FileNotFoundError):
            index = ItemIndex.open(shard.path / file, verify=False)
            yield np.asarray(index.ids), np.asarray(index.columns[REFRESHED_MS]), index.model_version
