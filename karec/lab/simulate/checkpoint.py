"""State that an arm stores between days: the events with all labels, and the checkpoint.

ARM/events-0000.npz …   impressions of a day, as the platform's events; the arm's log has fewer labels
ARM/checkpoint.npz      the state after the last whole day
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.files import file_aside
from karec.lab.simulate.population import Population
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.uploads import Creators
from karec.lab.simulate.world.tastes import SCENES, TASKS
from karec.times import DAY_MS

EVENTS = ("user", "work", "time_ms", "play_ms", *TASKS)
CHECKPOINT = "checkpoint.npz"
_ARRAYS = ("levels", "recent_works", "sessions")
_NUMBERS = ("day", "requests", "ms", "seconds")
_CREATORS = tuple(column.name for column in fields(Creators))


@dataclass(eq=False)
class State:
    """An arm between two days.

    day       the next day
    levels    (U,) float64, each user's running mean of enjoyment
    recent_works  (U, window) int32, the works shown last
    creators  state of the creators
    sessions  (days, U) int32, of the days so far
    run       run folder of the current models, relative to the arm's folder; "" for the first ones
    logged    names of the parts of the arm's rank log
    exposure  state of the exposure controller, JSON; "" without exposure control and before the first day
    requests  number so far
    ms        total time of the requests
    seconds   total time of the days with their trainings
    """

    day: int
    levels: NDArray[Any]
    recent_works: NDArray[Any]
    creators: Creators
    sessions: NDArray[Any]
    run: str
    exposure: str = ""
    logged: tuple[str, ...] = ()
    requests: int = 0
    ms: float = 0.0
    seconds: float = 0.0

    def write(self, place: Path) -> None:
        arrays: dict[str, Any] = {name: getattr(self, name) for name in (*_ARRAYS, *_NUMBERS)}
        arrays |= {name: getattr(self.creators, name) for name in _CREATORS}
        with file_aside(place / CHECKPOINT) as file:
            np.savez(
                file,
                run=np.array(self.run),
                exposure=np.array(self.exposure),
                logged=np.array(self.logged, str),
                **arrays,
            )

    @classmethod
    def read(cls, place: Path) -> Self | None:
        """Returns the stored state; None if no day has ended."""
        if not (place / CHECKPOINT).exists():
            return None
        with _open(place / CHECKPOINT) as file:
            creators = Creators(**{name: file[name] for name in _CREATORS})
            return cls(
                day=int(file["day"]),
                levels=file["levels"],
                recent_works=file["recent_works"],
                creators=creators,
                sessions=file["sessions"],
                run=str(file["run"]),
                exposure=str(file["exposure"]),
                logged=tuple(file["logged"].tolist()),
                requests=int(file["requests"]),
                ms=float(file["ms"]),
                seconds=float(file["seconds"]),
            )


def _open(path: Path) -> NpzFile:
    """Raises DataError if the file is truncated or altered."""
    try:
        file = np.load(path, allow_pickle=False)
    except (ValueError, BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}). Play the arm again in another folder.") from error
    assert isinstance(file, NpzFile)
    return file


def write_events(place: Path, day: int, rows: Mapping[str, NDArray[Any]]) -> None:
    """Writes ``rows``, the columns of EVENTS, in time order."""
    events: dict[str, Any] = {name: rows[name] for name in EVENTS}
    with file_aside(_path(place, day)) as file:
        np.savez(file, **events)


def read_events(place: Path, day: int, population: Population) -> Impressions:
    """Returns the impressions of one day of an arm with all labels."""
    with _open(_path(place, day)) as file:
        rows = {name: file[name] for name in EVENTS}
    snapshot = population.snapshot
    return Impressions(
        user_id=snapshot.users.ids[rows["user"]],
        work_id=snapshot.works.ids[rows["work"]],
        time_ms=rows["time_ms"],
        scene=np.full(len(rows["user"]), SCENES.index(SCENE), np.int32),
        labels={task: rows[task] for task in TASKS},
        play_ms=rows["play_ms"],
    )


def platform_at(place: Path, day: int, population: Population) -> Snapshot:
    """Returns the platform at the beginning of ``day``: the first day after the events of the days before."""
    snapshot = population.snapshot
    for past in range(day):
        snapshot = advance_day(snapshot, place, past, population)
    return snapshot


def advance_day(snapshot: Snapshot, place: Path, day: int, population: Population) -> Snapshot:
    """Returns the platform at the end of ``day``; ``snapshot``: at its beginning."""
    return advance(snapshot, read_events(place, day, population), population.first_ms + (day + 1) * DAY_MS)


def _path(place: Path, day: int) -> Path:
    return place / f"events-{day:04d}.npz"
