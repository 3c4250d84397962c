"""What was read, kept and left out of each table, and what it adds up to: for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

FORMAT = 1
SHOWN_LINES = 3  # of each reason
SHOWN_NAMES = 3  # of each column


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
    """What became of a column. ``missing`` is a share of the rows; ``least``, ``most``: of numbers and
    moments; ``alone``: names of a category that stand in one row each. ``odd``: rows whose cell is something
    else than the column holds; it counts as missing.
    """

    name: str
    kind: str
    becomes: str
    missing: float = 0.0
    least: str = ""
    most: str = ""
    alone: tuple[str, ...] = ()
    odd: Reason | None = None


@dataclass(frozen=True)
class TableReport:
    """``rows`` were read: those ``kept``, those ``bad``, which cannot be used as they stand, and those
    ``left_out``, which are not needed.
    """

    name: str
    files: tuple[str, ...]
    rows: int
    kept: int
    bad: Mapping[str, Reason] = field(default_factory=dict)
    left_out: Mapping[str, Reason] = field(default_factory=dict)
    columns: tuple[ColumnReport, ...] = ()

    def gone(self) -> Iterator[str]:
        """Which rows are not kept, and why, in a line, if there are any."""
        gone = "; ".join(f"{why}: {reason}" for why, reason in (*self.bad.items(), *self.left_out.items()))
        if gone:
            yield f"{self.name}: {self.rows:,} rows read, of which are left out: {gone}"

    def notes(self) -> Iterator[str]:
        """What of the rows was dropped or is unknown, a line each."""
        yield from self.gone()
        columns = sorted(self.columns, key=lambda each: each.name)  # however the files order them
        missing = [f"{each.name} {round(each.missing * self.rows):,}" for each in columns if each.missing]
        if missing:
            yield f"{self.name}: cells that are missing: {', '.join(missing)}"
        yield from self.odd_notes()
        alone = {each.name: each.alone for each in columns if each.alone}
        if alone:
            few = ", ".join(f"{name} {', '.join(names[:SHOWN_NAMES])}" for name, names in alone.items())
            count = sum(map(len, alone.values()))
            yield f"{self.name}: {count:,} names that stand in one row alone: {few}"

    def odd_notes(self) -> Iterator[str]:
        """What columns hold cells of another kind, a line each."""
        for each in sorted(self.columns, key=lambda each: each.name):
            if each.odd is not None:
                kind = "time" if each.becomes.startswith("moment") else each.kind
                yield (
                    f"{self.name}: column {each.name!r}: cells that are no {kind} count as missing: "
                    f"{each.odd}"
                )


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
    unknown_items: int = 0
    labels: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; docs/formats.md has the keys."""
        return {"format": FORMAT, **asdict(self)}
