"""Log of one arm of a simulation: the file format between the loop and the measures.

    FOLDER/day-0000.npz …   one file per day: the columns of EXPOSURES, one row per impression, in time order
    FOLDER/arm.npz          the other arrays of ``ArmLog``
    FOLDER/arm.json         {"format": 1, "name", "days", "n_users", "facts": {…}}; written last: an arm
                            without it has not ended

Needs only NumPy. Files are written aside and renamed; equal arrays give equal bytes.
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
# Values of ``work_upload_day``: exists at the beginning; never uploaded in this arm.
BEFORE, NEVER = -1, 2**31 - 1
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
    """One arm: the impressions of each of ``days`` days and the feedback. Rows are rows of the world.

    n_users          U; ``is_visitor`` (U,) bool marks users who may visit
    creators         (C,) int64, user rows of potential uploaders, ascending
    exposures        {column: (M,)} of EXPOSURES, in the order of day and time: ``day`` from 0; ``user``,
                     ``work``, ``creator`` (a user row) rows; ``session`` counts a user's sessions of a day
                     from 0, ``position`` the session's works from 0 over its pages; ``age_ms`` since the
                     upload; ``play_s`` seconds played; ``click``, ``long_view``, ``like``, ``follow`` 0 or 1
                     as drawn; ``p_…`` their expectation, given all earlier impressions
    work_upload_day  (W,) int32: BEFORE, the day of the upload, or NEVER
    work_creator     (W,) int32 user rows
    upload_ms        (W,) int64 Unix ms; for a work that was never uploaded, its potential upload
    sessions         (days, U) int32: number of sessions, −1 for a user who may not visit
    quit_day         (C,) int32: the day after which the creator uploads no more, −1 for never
    facts            settings, versions, requests, ms per request, seconds: JSON
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
        set_field = object.__setattr__
        for name, dtype in ARRAYS.items():
            set_field(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        set_field(self, "exposures", columns_of(self.exposures))
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
    def is_visitor(self) -> NDArray[Any]:
        return np.asarray((self.sessions >= 0).all(axis=0))

    def write_end(self, folder: Path) -> None:
        """Writes everything except the days, which are in ``folder`` already."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        with file_aside(folder / "arm.npz") as file:
            np.savez(file, **arrays)
        head = {"format": FORMAT, "name": self.name, "days": self.days, "n_users": self.n_users}
        write_text_aside(folder / "arm.json", json.dumps({**head, "facts": dict(self.facts)}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> ArmLog:
        """Raises DataError that names a missing or damaged file; an arm that has not ended is rejected."""
        try:
            head = json.loads((folder / "arm.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}: not an arm of a simulation, or one that has not ended: {error}"
            ) from error
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise DataError(f"{folder / 'arm.json'}: unknown format, expected {FORMAT}")
        arrays = _read_arrays(folder / "arm.npz", ARRAYS)
        days = [read_day(folder, day) for day in range(head["days"])]
        exposures = {name: np.concatenate([day[name] for day in days]) for name in EXPOSURES}
        return cls(
            head["name"], head["days"], head["n_users"], exposures=exposures, facts=head["facts"], **arrays
        )


def columns_of(exposures: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the columns of EXPOSURES with its order and dtypes.

    Raises DataError if a column is missing, unknown or of another length.
    """
    if exposures.keys() != EXPOSURES.keys():
        raise DataError(f"exposures of an arm have the columns {list(EXPOSURES)}, got {list(exposures)}")
    columns = {name: np.ascontiguousarray(exposures[name], dtype) for name, dtype in EXPOSURES.items()}
    n = len(columns["day"])
    for name, column in columns.items():
        if column.shape != (n,):
            raise DataError(f"exposures of an arm: {name} has shape {column.shape}, expected ({n},)")
    return columns


def write_day(folder: Path, day: int, exposures: Mapping[str, NDArray[Any]]) -> None:
    columns: dict[str, Any] = columns_of(exposures)
    with file_aside(_day(folder, day)) as file:
        np.savez(file, **columns)


def read_day(folder: Path, day: int) -> dict[str, NDArray[Any]]:
    """Raises DataError that names a missing or damaged file."""
    return columns_of(_read_arrays(_day(folder, day), EXPOSURES))


def _day(folder: Path, day: int) -> Path:
    return folder / f"day-{day:04d}.npz"


def _read_arrays(path: Path, names: Mapping[str, type[np.generic]]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: not a file of a simulation's arm, or damaged: {error}") from error
