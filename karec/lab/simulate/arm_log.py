"""What happened in one arm of a simulation: the file format between the loop, which writes it, and its
measures.

    FOLDER/day-0000.npz …   one file a day: the columns of EXPOSURES, a row an exposure, in order of time
    FOLDER/arm.npz          the other arrays of ``ArmLog``
    FOLDER/arm.json         {"format": 1, "name", "days", "n_users", "facts": {…}}; written last: an arm
                            without it has not ended

NumPy alone. Files are written aside and renamed; the same arrays give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.files import file_aside, write_text_aside
from karec.pipeline.types import EMPTY

FORMAT = 1
# of ``work_upload_day``: there when the days begin; uploaded, and refused by screening; never uploaded in
# this arm
BEFORE, REFUSED, NEVER = -1, 2**31 - 2, 2**31 - 1
EXPOSURES: Mapping[str, type[np.generic]] = {
    "day": np.int32,
    "user": np.int32,
    "session": np.int32,
    "position": np.int32,
    "work": np.int32,
    "creator": np.int32,
    "age_ms": np.int64,
    "play_s": np.float32,
    "click": np.uint8,
    "long_view": np.uint8,
    "like": np.uint8,
    "follow": np.uint8,
    "p_play_s": np.float32,
    "p_long_view": np.float32,
    "p_like": np.float32,
    "p_follow": np.float32,
}
ARRAYS: Mapping[str, type[np.generic]] = {
    "creators": np.int64,
    "work_upload_day": np.int32,
    "work_creator": np.int32,
    "upload_ms": np.int64,
    "sessions": np.int32,
    "quit_day": np.int32,
}


@dataclass(frozen=True, eq=False)
class ArmLog:
    """One arm: who was shown what on each of ``days`` days, and what users did. Rows are rows of the world.

    n_users          U, of whom many may never come; ``comers (U,)`` bool are those who might
    creators         (C,) int64, user rows of those who may upload, ascending
    exposures        {column: (M,)} of EXPOSURES, in order of day, then of time:
                     ``day`` from 0; ``user``, ``work``, ``creator`` (a user row) rows; ``session`` counts a
                     user's sessions of a day from 0, ``position`` the session's works from 0, over its pages;
                     ``age_ms`` since the upload; ``play_s`` seconds played; ``click``, ``long_view``,
                     ``like``, ``follow`` 0 or 1 as drawn; ``p_…`` what is expected of them, given all that
                     was shown before
    work_upload_day  (W,) int32: BEFORE, the day of the upload, REFUSED or NEVER
    work_creator     (W,) int32 user rows
    upload_ms        (W,) int64 Unix ms; of a work that was never uploaded, when it would have been
    sessions         (days, U) int32: how often each user came, −1 for one who could not: a part of a world
                     was played
    quit_day         (C,) int32: the day after which creator c uploads no more, −1 for never
    facts            settings, versions, requests, ms a request, seconds: JSON
    """

    name: str
    days: int
    n_users: int
    creators: NDArray[Any]
    exposures: Mapping[str, NDArray[Any]]
    work_upload_day: NDArray[Any]
    work_creator: NDArray[Any]
    upload_ms: NDArray[Any]
    sessions: NDArray[Any]
    quit_day: NDArray[Any]
    facts: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, dtype in ARRAYS.items():
            put(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        put(self, "exposures", columns_of(self.exposures))
        sizes = {
            "sessions": (self.sessions.shape, (self.days, self.n_users)),
            "quit_day": (self.quit_day.shape, self.creators.shape),
            "work_creator": (self.work_creator.shape, self.work_upload_day.shape),
            "upload_ms": (self.upload_ms.shape, self.work_upload_day.shape),
        }
        for name, (shape, expected) in sizes.items():
            if shape != expected:
                raise DataError(f"arm {self.name!r}: {name} has shape {shape}, expected {expected}")

    def __len__(self) -> int:
        return len(self.exposures["user"])

    @property
    def comers(self) -> NDArray[Any]:
        return np.asarray((self.sessions >= 0).all(axis=0))

    def write_end(self, folder: Path) -> None:
        """Writes all but the days, which are in ``folder`` already."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        with file_aside(folder / "arm.npz") as file:
            np.savez(file, **arrays)
        head = {"format": FORMAT, "name": self.name, "days": self.days, "n_users": self.n_users}
        write_text_aside(folder / "arm.json", json.dumps({**head, "facts": dict(self.facts)}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> ArmLog:
        """Raises DataError naming what is missing or damaged; an arm that has not ended is refused."""
        try:
            head = json.loads((folder / "arm.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} holds no arm of a simulation that has ended: {error}") from error
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise DataError(f"{folder / 'arm.json'}: this version reads arms of format {FORMAT}")
        arrays = _read(folder / "arm.npz", ARRAYS)
        days = [read_day(folder, day) for day in range(head["days"])]
        exposures = {name: np.concatenate([day[name] for day in days]) for name in EXPOSURES}
        return cls(
            head["name"], head["days"], head["n_users"], exposures=exposures, facts=head["facts"], **arrays
        )


def columns_of(exposures: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns of EXPOSURES, in its order and dtypes. DataError: one is missing, unknown or of another
    length."""
    if exposures.keys() != EXPOSURES.keys():
        raise DataError(f"exposures of an arm have the columns {list(EXPOSURES)}, got {list(exposures)}")
    columns = {name: np.ascontiguousarray(exposures[name], dtype) for name, dtype in EXPOSURES.items()}
    n = len(columns["day"])
    for name, column in columns.items():
        if column.shape != (n,):
            raise DataError(f"exposures of an arm: {name} has shape {column.shape}, expected ({n},)")
    return columns


def write_day(folder: Path, day: int, exposures: Mapping[str, NDArray[Any]]) -> None:
    """Writes the exposures of one day into ``folder``."""
    columns: dict[str, Any] = columns_of(exposures)
    with file_aside(_day(folder, day)) as file:
        np.savez(file, **columns)


def read_day(folder: Path, day: int) -> dict[str, NDArray[Any]]:
    """The exposures of one day; DataError naming a file that is missing or damaged."""
    return columns_of(_read(_day(folder, day), EXPOSURES))


def _day(folder: Path, day: int) -> Path:
    return folder / f"day-{day:04d}.npz"


def _read(path: Path, names: Mapping[str, type[np.generic]]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path} is no part of a simulation's arm: {error}") from error
