"""What was read, kept and left out of each table, and what it adds up to: for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

FORMAT = 1
SHOWN_LINES = 3  # of each reason


def moment(ms: int) -> str:
    """Unix milliseconds, for people: ISO 8601 in UTC."""
    return f"{np.datetime64(ms, 'ms')}Z".replace(".000Z", "Z")


@dataclass(frozen=True)
class Reason:
    """``count`` rows, the first of them at ``places``, "FILE:LINE"."""

    count: int
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.places) > 0 else ""
        return f"{self.count:,}" + (f" ({', '.join(self.places)}{more})" if self.places else "")


@dataclass(frozen=True)
class ColumnReport:
    """What became of a column. ``missing`` is a share of the rows; ``least``, ``most``: of numbers and moments."""

    name: str
    kind: str
    becomes: str
    missing: float = 0.0
    least: str = ""
    most: str = ""


@dataclass(frozen=True)
class TableReport:
    """``rows`` were read and ``kept``; ``bad`` cannot be used as they stand, ``left_out`` can, and are not needed."""

    name: str
    files: tuple[str, ...]
    rows: int
    kept: int
    bad: Mapping[str, Reason] = field(default_factory=dict)
    left_out: Mapping[str, Reason] = field(default_factory=dict)
    columns: tuple[ColumnReport, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """All tables, and the dataset that they make. ``notes`` are what a reader of any result must know."""

    name: str
    shape: str
    tables: tuple[TableReport, ...]
    users: int = 0
    items: int = 0
    exposures: int = 0
    users_without_row: int = 0
    items_without_exposure: int = 0
    labels: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; docs/formats.md has the keys."""
        return {"format": FORMAT, **asdict(self)}
