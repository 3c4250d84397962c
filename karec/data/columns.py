"""A column of items or users → columns of a snapshot. It becomes what its cells are:

integer    a category where few values recur, else a number
number     a number; a category where its few values are whole
text       a category; free text is refused: vectors made of it are wanted
boolean    a category
time       a moment, in a column that ends with _ms
list       of texts or integers: a category in each of up to three columns, NAME, NAME2, NAME3;
           of more numbers than that: a vector, its principal components are numbers
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, PUBLISHED, SONG
from karec.data.cells import Log
from karec.data.database import quote_text
from karec.data.kinds import Column
from karec.errors import DataError

FEW = 1000  # values of an integer column that is a category
FEW_WHOLE = 20  # values of a column of numbers that is one
FREE_TEXT = 40  # characters, the mean of a column whose values hardly recur
LISTED = 3  # values of a list that are kept
COMPONENTS = 16  # numbers that a vector becomes
NUMBER = r"-?[0-9]+(\.[0-9]*)?"
Numbers = Callable[[str, Any], NDArray[Any]]  # (role, an Arrow array of ids) → their numbers


@dataclass(frozen=True)
class Wanted:
    """A column and what is said of it: its role's name, what stands between its values, that it is a
    category, which cells are ``unknown``, and the name of a category's missing cells.
    """

    column: Column
    role: str | None = None
    between: str | None = None
    category: bool = False
    unknown: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def name(self) -> str:
        return self.role or self.column.name

    @property
    def cell(self) -> str:
        """What is read of the file, in SQL."""
        if self.unknown:
            listed = ", ".join(map(quote_text, self.unknown))
            return f"CASE WHEN {self.column.as_text} IN ({listed}) THEN NULL ELSE {self._known} END"
        return self._known

    @property
    def is_odd(self) -> str | None:
        """A condition in SQL: the cell is there, and cannot be read as what the column holds; None: each
        can."""
        kinds = (
            self.column.kind in ("integer", "number", "time") and self.between is None and not self.category
        )
        if not kinds and self.role != PUBLISHED:
            return None
        return f"{self.column.cell} IS NOT NULL AND {self._known} IS NULL"

    @property
    def _known(self) -> str:
        column = self.column
        if self.role == PUBLISHED:
            return column.as_time.as_ms
        if self.role in (CREATOR, SONG):
            return column.as_integer if column.kind == "integer" else column.as_text
        if self.between is not None:
            return f"string_split({column.as_text}, {quote_text(self.between)})"
        if column.kind == "list":
            return column.cell if column.typed else column.as_text
        if self.category or self.role is not None or column.kind in ("text", "boolean"):
            return column.as_text
        if column.kind == "time":
            return column.as_ms
        return column.as_integer if column.kind == "integer" else column.as_number


@dataclass(frozen=True)
class Become:
    """``columns`` of a snapshot, ``names`` of their category codes, what to tell of them, and the first of
    the names that stand in one row ``alone``: each may be a slip.
    """

    columns: dict[str, NDArray[Any]]
    said: str
    names: dict[str, list[str]] = field(default_factory=dict)
    alone: tuple[str, ...] = ()


def become(wanted: Wanted, values: Any, numbers: Numbers | None) -> Become:
    """``values``, an Arrow array, are what ``wanted.cell`` reads. ``numbers`` of creators and songs that are
    texts.

    DataError, which does not name the file: free text, or vectors of several lengths.
    """
    name, column = wanted.name, wanted.column
    if wanted.role == PUBLISHED or (column.kind == "time" and wanted.role is None):
        moment = name if name.endswith("_ms") else f"{name}_ms"
        ms = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return Become({moment: ms}, f"moment {moment}")
    if wanted.role in (CREATOR, SONG):
        return Become({name: _ids(name, values, numbers)}, f"ids {name}")
    if wanted.between is not None or column.kind == "list":
        return _of_list(wanted, values)
    if not wanted.category and wanted.role is None and column.kind in ("integer", "number"):
        if _is_quantity(column, values):
            return Become(
                {name: np.asarray(values.cast("double").to_numpy(zero_copy_only=False), np.float32)}, "number"
            )
        values = values.cast("int64").cast("string")
    codes, names = _codes(values, wanted.missing)
    if not wanted.category and wanted.role is None and column.kind == "text":
        _refuse_free_text(column.name, values, len(names))
    alone = _alone(codes, names) if column.kind == "text" else ()
    return Become({name: codes}, f"category of {len(names):,} values", {name: names}, alone)


def log_becomes(name: str, log: Log, numbers: Mapping[str, NDArray[Any]]) -> Become:
    """``numbers``: (R,) float64 of each of the log's columns, NaN where a cell is missing."""
    values = [
        numbers[column] if log.missing is None else _or(numbers[column], log.missing)
        for column in log.columns
    ]
    made = (
        np.log1p(values[0] / log.unit) if log.over is None else np.log((values[0] + 1.0) / (values[1] + 1.0))
    )
    return Become({name: made.astype(np.float32)}, f"number {name}")


def _or(values: NDArray[Any], missing: float) -> NDArray[Any]:
    return np.where(np.isnan(values), missing, values)


def vectors_become(name: str, vectors: NDArray[Any]) -> Become:
    """(R, D) float32, NaN in a row that is not known."""
    width = vectors.shape[1]
    kept = min(width, COMPONENTS)
    if width > kept:
        vectors = _principal(vectors, kept)
    columns = {f"{name}_{at:02}": np.ascontiguousarray(vectors[:, at]) for at in range(kept)}
    return Become(columns, f"{kept} numbers of {width}" + (", principal components" if width > kept else ""))


def _ids(role: str, values: Any, numbers: Numbers | None) -> NDArray[Any]:
    """Numbers of ids, −1 where one is missing."""
    there = np.asarray(values.is_valid())
    found = np.full(len(values), -1, np.int64)
    kept = values.drop_null()
    if len(kept):
        found[there] = (
            kept.to_numpy() if str(kept.type).startswith("int") or numbers is None else numbers(role, kept)
        )
    return found


def _codes(values: Any, missing: str | None = None) -> tuple[NDArray[Any], list[str]]:
    """(N,) int32 codes in the order of the names, −1 where a value is missing. ``missing`` names these, as
    the first category.
    """
    if missing is not None and values.null_count:
        codes, known = _codes(values)
        return codes + 1, [missing, *known]
    encoded = values.dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), object)
    order = np.argsort(names.astype(str), kind="stable")
    code = np.empty(len(names) + 1, np.int32)
    code[order] = np.arange(len(names), dtype=np.int32)
    code[-1] = -1
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return code[indices], [str(name) for name in names[order]]


def _alone(codes: NDArray[Any], names: list[str]) -> tuple[str, ...]:
    """The names of one row each; none where most names are numbers."""
    if sum(bool(re.fullmatch(NUMBER, name)) for name in names) > len(names) / 2:
        return ()
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return tuple(names[at] for at in np.flatnonzero(counts == 1))


def _is_quantity(column: Column, values: Any) -> bool:
    """Of integers: more distinct ones than a category has, or hardly one that recurs. Of numbers: not few and
    whole."""
    distinct = values.unique().drop_null()
    if column.kind == "number":
        found = distinct.to_numpy(zero_copy_only=False)
        return len(found) > FEW_WHOLE or len(found) == 0 or bool((found != np.round(found)).any())
    return len(distinct) > FEW or len(distinct) > max(len(values) // 4, FEW_WHOLE)


def _refuse_free_text(name: str, values: Any, distinct: int) -> None:
    there = len(values) - values.null_count
    lengths = [len(each) for each in values.drop_null()[:1000].to_pylist()]
    if there > 100 and distinct > 0.5 * there and np.mean(lengths) > FREE_TEXT:
        raise DataError(
            f"column {name!r} is free text ({distinct:,} values of {np.mean(lengths):.0f} characters in "
            f"{there:,} rows): add it to ignore, and bring vectors made of it as roles.vector"
        )


def _of_list(wanted: Wanted, values: Any) -> Become:
    name = wanted.name
    rows: Sequence[list[Any]] = [_parsed(each) for each in values.to_pylist()]
    first: list[Any] = next((row for row in rows if row), [])
    if len(first) > LISTED and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in first
    ):
        for at, row in enumerate(rows):
            if len(row) not in (0, len(first)):
                raise DataError(
                    f"column {wanted.column.name!r}, row {at + 1}: {len(row)} numbers, others have "
                    f"{len(first)}: vectors have one length, or are missing"
                )
        return vectors_become(name, np.array([row or [np.nan] * len(first) for row in rows], np.float32))
    import pyarrow

    wide = [[str(each) for each in row[:LISTED]] + [None] * (LISTED - len(row[:LISTED])) for row in rows]
    codes, names = _codes(
        pyarrow.array([each for row in wide for each in row], pyarrow.string()), wanted.missing
    )
    codes = codes.reshape(-1, LISTED)
    used = [at for at in range(LISTED) if at == 0 or any(len(row) > at for row in rows)]
    columns = {f"{name}{at + 1 if at else ''}": np.ascontiguousarray(codes[:, at]) for at in used}
    longest = max((len(row) for row in rows), default=0)
    more = f", the first {LISTED} of up to {longest} a row" if longest > LISTED else ""
    said = f"categories {', '.join(columns)} of {len(names):,} values{more}"
    return Become(columns, said, dict.fromkeys(columns, names))


def _parsed(value: Any) -> list[Any]:
    """A list, of a file's own type or written as JSON; empty where it is missing or none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    if not isinstance(value, list):
        return []
    stripped = (each.strip() if isinstance(each, str) else each for each in value)
    return [each for each in stripped if each is not None and each != ""]


def _principal(vectors: NDArray[Any], kept: int) -> NDArray[Any]:
    """The ``kept`` first principal components, NaN where a vector is missing; signs are fixed by the largest
    weight."""
    there = np.isfinite(vectors).all(axis=1)
    known = vectors[there].astype(np.float64)
    known -= known.mean(axis=0)
    _, axes = np.linalg.eigh(known.T @ known)
    axes = axes[:, ::-1][:, :kept]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    found = np.full((len(vectors), kept), np.nan, np.float32)
    found[there] = known @ axes
    return found
