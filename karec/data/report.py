"""The report of an import: which rows of each table were read, kept and left out, and the dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

FORMAT = 1
MAX_PLACES = 3  # of a reason
MAX_NAMES = 3  # of a column
MAX_QUOTED = 80  # characters of a cell


def format_time(ms: int) -> str:
    """Returns Unix milliseconds as ISO 8601 in UTC."""
    return f"{np.datetime64(ms, 'ms')}Z".replace(".000Z", "Z")


def shorten(text: str) -> str:
    """Returns the text of a cell for a message, at most MAX_QUOTED characters of it."""
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


@dataclass(frozen=True)
class Reason:
    """The number of rows with a reason, and the places of the first ones, ``FILE:LINE``."""

    count: int
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        ellipsis = ", …" if self.count > len(self.places) > 0 else ""
        return f"{self.count:,}" + (f" ({', '.join(self.places)}{ellipsis})" if self.places else "")


@dataclass(frozen=True)
class ColumnReport:
    """The use of a column.

    missing           fraction of the rows
    minimum, maximum  range of numbers and times
    rare_names        names of a category in one row only: a damaged cell of a category shows nowhere else
    odd_cells         rows whose cell is of another kind; it counts as missing
    """

    name: str
    kind: str
    use: str
    missing: float = 0.0
    minimum: str = ""
    maximum: str = ""
    rare_names: tuple[str, ...] = ()
    odd_cells: Reason | None = None


@dataclass(frozen=True)
class TableReport:
    """The rows of a table.

    unusable   rows that cannot be used, by reason
    left_out   rows that are not needed, by reason
    """

    name: str
    files: tuple[str, ...]
    rows: int
    kept: int
    unusable: Mapping[str, Reason] = field(default_factory=dict)
    left_out: Mapping[str, Reason] = field(default_factory=dict)
    columns: tuple[ColumnReport, ...] = ()

    def keep(self, n_kept: int, unneeded: Collection[str], repeated: str) -> TableReport:
        """Returns the report of ``n_kept`` rows: those that are ``unneeded`` or ``repeated`` are left out."""
        left_out = {reason: rows for reason, rows in self.unusable.items() if reason in unneeded}
        if self.kept > n_kept:
            left_out[repeated] = Reason(self.kept - n_kept)
        return replace(
            self,
            kept=n_kept,
            unusable={reason: rows for reason, rows in self.unusable.items() if reason not in unneeded},
            left_out={**self.left_out, **left_out},
        )

    def left_out_notes(self) -> Iterator[str]:
        """Yields one line on the rows that are not kept, if there are any."""
        reasons = "; ".join(
            f"{reason}: {rows}" for reason, rows in (*self.unusable.items(), *self.left_out.items())
        )
        if reasons:
            yield f"{self.name}: {self.rows:,} rows read, of which are left out: {reasons}"

    def notes(self) -> Iterator[str]:
        """Yields a line on each kind of loss: rows, cells that are missing or of another kind, rare names."""
        yield from self.left_out_notes()
        columns = sorted(self.columns, key=lambda column: column.name)  # files have them in any order
        missing_cells = [
            f"{column.name} {round(column.missing * self.rows):,}" for column in columns if column.missing
        ]
        if missing_cells:
            yield f"{self.name}: cells that are missing: {', '.join(missing_cells)}"
        yield from self.odd_notes()
        rare = {column.name: column.rare_names for column in columns if column.rare_names}
        if rare:
            names_text = ", ".join(
                f"{name} {', '.join(map(shorten, names[:MAX_NAMES]))}" for name, names in rare.items()
            )
            count = sum(map(len, rare.values()))
            yield f"{self.name}: {count:,} names that appear in only one row: {names_text}"

    def odd_notes(self) -> Iterator[str]:
        """Yields a line for each column that has cells of another kind."""
        for column in sorted(self.columns, key=lambda column: column.name):
            if column.odd_cells is not None:
                kind = "time" if column.use.startswith("moment") else column.kind
                yield (
                    f"{self.name}: column {column.name!r}: cells of another kind than {kind} count as "
                    f"missing: {column.odd_cells}"
                )


@dataclass(frozen=True)
class DataReport:
    """All tables and the dataset. ``notes``: what a reader of any result must know."""

    name: str
    shape: str
    tables: tuple[TableReport, ...]
    users: int = 0
    items: int = 0
    impressions: int = 0
    users_without_row: int = 0
    users_without_impression: int = 0
    items_without_impression: int = 0
    unknown_items: int = 0
    labels: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report for JSON; docs/formats.md lists the keys."""
        return {"format": FORMAT, **asdict(self)}
