"""Items, users and relations → the tables of a snapshot. A column becomes what its cells are:

integer    a category where few values recur, else a number;  number, list of numbers: numbers
text       a category; free text is refused: vectors made of it are wanted
boolean    a category
time       a moment, in a column that ends with _ms
list       of texts or integers: a category in each of up to three columns, NAME, NAME2, NAME3
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from karec.data.own.contract import Items, Users
from karec.data.own.database import Database, told
from karec.data.own.events import IdKind, nothing_kept, reasons
from karec.data.own.files import FILE_NUMBER, LINE, Source, text
from karec.data.own.kinds import Column, column_of
from karec.data.own.report import ColumnReport, Reason, TableReport
from karec.errors import DataError
from karec.platform.schema import CREATOR, PUBLISHED, SONG
from karec.types import Array

FEW = 1000  # values of an integer column that is a category
FREE_TEXT = 40  # characters, the mean of a column whose values hardly recur
LISTED = 3  # values of a list that are kept
Numbers = Callable[[Any], Array]  # an Arrow array of ids → their numbers


@dataclass(frozen=True, eq=False)
class OwnTable:
    """``ids`` as the files have them (Arrow), ``columns`` and ``names`` of their category codes as a snapshot has them."""

    ids: Any
    columns: dict[str, Array]
    names: dict[str, list[str]]
    report: TableReport


def read_table(
    database: Database, source: Source, table: Items | Users, kind: IdKind, numbers: Numbers | None = None
) -> OwnTable:
    """A row an id. Of an id that stands twice with the same values one is kept; with other values all but the first are
    mistakes. ``numbers`` of creators and songs that are texts.
    """
    source.column(table.id, f"{kind.what}s.id")
    id_column = column_of(database, source, table.id)
    roles = table.roles.named if isinstance(table, Items) else {}
    for name in (*roles, *table.ignore, *table.categories):
        source.column(name, f"{kind.what}s")
    chosen = [name for name in source.columns if name != table.id and (name not in table.ignore or name in roles)]
    columns = {name: column_of(database, source, name) for name in chosen}
    cells = {
        f"c{at}": _cell(column, roles.get(name), name in table.categories)
        for at, (name, column) in enumerate(columns.items())
    }
    mistakes = kind.mistakes(id_column)
    why = "CASE " + " ".join(f"WHEN {condition} THEN {text(reason)}" for condition, reason in mistakes) + " END"
    what = f"{kind.what}_table"
    listed = "".join(f", {cell} AS {name}" for name, cell in cells.items())
    with told(source.files[0]):
        database.run(
            f"CREATE TABLE {what} AS SELECT {kind.value(id_column)} AS id{listed}, {why} AS why, {LINE}, {FILE_NUMBER} "
            f"FROM {source.name}"
        )
        same = "".join(f", {name}" for name in cells)
        database.run(
            f"UPDATE {what} SET why = 'the id stands twice, with other values' WHERE why IS NULL AND id IN "
            f"(SELECT id FROM (SELECT DISTINCT id{same} FROM {what} WHERE why IS NULL) GROUP BY id HAVING count(*) > 1) "
            f"AND ({FILE_NUMBER}, {LINE}) NOT IN (SELECT min(({FILE_NUMBER}, {LINE})) FROM {what} WHERE why IS NULL GROUP BY id)"
        )
        bad = reasons(database, source, what)
        rows = database.count(what)
        first = f"SELECT * FROM {what} WHERE why IS NULL QUALIFY row_number() OVER (PARTITION BY id ORDER BY {FILE_NUMBER}, {LINE}) = 1"
        found = database.arrow(f"SELECT id{same} FROM ({first}) ORDER BY {FILE_NUMBER}, {LINE}")
        good = database.count(what, "why IS NULL")
        database.run(f"DROP TABLE {what}")
    if not found.num_rows:
        raise DataError(nothing_kept(f"{kind.what}s", source, bad))
    broken = sum(r.count for r in bad.values()) - (rows - good)
    left_out = (
        {"the id stands twice, with the same values": Reason(good - found.num_rows)} if good > found.num_rows else {}
    )
    made: dict[str, Array] = {}
    names: dict[str, list[str]] = {}
    reports = []
    for at, (name, column) in enumerate(columns.items()):
        values = found[f"c{at}"].combine_chunks()
        parts, of_codes, becomes = _made(
            source, name, column, values, roles.get(name), name in table.categories, numbers
        )
        made |= parts
        names |= of_codes
        reports.append(ColumnReport(name, column.kind, becomes, values.null_count / max(len(values), 1)))
    report = TableReport(
        f"{kind.what}s", tuple(map(str, source.files)), rows + broken, found.num_rows, bad, left_out, tuple(reports)
    )
    return OwnTable(found["id"].combine_chunks(), made, names, report)


def _cell(column: Column, role: str | None, category: bool) -> str:
    if role == PUBLISHED:
        return column.as_ms
    if role in (CREATOR, SONG):
        return column.as_integer if column.kind == "integer" else column.as_text
    if category or role is not None or column.kind in ("text", "boolean"):
        return column.as_text
    if column.kind == "time":
        return column.as_ms
    if column.kind == "list":
        return column.cell if column.typed else column.as_text
    return column.as_integer if column.kind == "integer" else column.as_number


def _made(
    source: Source, name: str, column: Column, values: Any, role: str | None, category: bool, numbers: Numbers | None
) -> tuple[dict[str, Array], dict[str, list[str]], str]:
    """({column of the snapshot: values}, {column: names of its codes}, what to tell)."""
    to = role or name
    if role == PUBLISHED or column.kind == "time":
        moment = to if to.endswith("_ms") else f"{to}_ms"
        return {moment: values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)}, {}, f"moment {moment}"
    if role in (CREATOR, SONG):
        return {to: _ids(values, numbers)}, {}, f"ids {to}"
    if column.kind == "list":
        return _of_list(source, to, column, values)
    if not category and role is None and column.kind in ("integer", "number"):
        if column.kind == "number" or _many(values):
            return {to: _floats(values)}, {}, "number"
        codes, found = _codes(values.cast("string"))
        return {to: codes}, {to: found}, f"category of {len(found)} values"
    codes, found = _codes(values)
    if not category and role is None and column.kind == "text":
        _refuse_free_text(source, name, values, len(found))
    return {to: codes}, {to: found}, f"category of {len(found):,} values"


def _ids(values: Any, numbers: Numbers | None) -> Array:
    """Numbers of ids, −1 where one is missing."""
    there = np.asarray(values.is_valid())
    found = np.full(len(values), -1, np.int64)
    kept = values.drop_null()
    if len(kept):
        found[there] = kept.to_numpy() if str(kept.type).startswith("int") or numbers is None else numbers(kept)
    return found


def _codes(values: Any) -> tuple[Array, list[str]]:
    """(N,) int32 codes in the order of the names, −1 where a value is missing."""
    encoded = values.dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), object)
    order = np.argsort(names.astype(str), kind="stable")
    code = np.empty(len(names) + 1, np.int32)
    code[order] = np.arange(len(names), dtype=np.int32)
    code[-1] = -1
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return code[indices], [str(name) for name in names[order]]


def _floats(values: Any) -> Array:
    return np.asarray(values.cast("double").to_numpy(zero_copy_only=False), np.float32)


def _many(values: Any) -> bool:
    """More distinct integers than a category has, or hardly a value that recurs."""
    distinct = len(values.unique())
    return distinct > FEW or distinct > max(len(values) // 4, 20)


def _refuse_free_text(source: Source, name: str, values: Any, distinct: int) -> None:
    there = len(values) - values.null_count
    lengths = [len(each) for each in values.drop_null()[:1000].to_pylist()]
    if there > 100 and distinct > 0.5 * there and np.mean(lengths) > FREE_TEXT:
        raise DataError(
            f"{source.files[0]}: column {name!r} is free text ({distinct:,} values of {np.mean(lengths):.0f} characters in "
            f"{there:,} rows): add it to ignore, and bring vectors made of it as roles.vector"
        )


def _of_list(
    source: Source, name: str, column: Column, values: Any
) -> tuple[dict[str, Array], dict[str, list[str]], str]:
    rows: Sequence[Any] = [_parsed(each) for each in values.to_pylist()]
    first = next((row for row in rows if row), [])
    if (
        first
        and all(isinstance(each, int | float) and not isinstance(each, bool) for each in first)
        and len(first) > LISTED
    ):
        return _vectors(source, name, rows, len(first))
    wide = [[str(each) for each in row[:LISTED]] + [None] * (LISTED - len(row[:LISTED])) for row in rows]
    import pyarrow

    codes, names = _codes(pyarrow.array([each for row in wide for each in row], pyarrow.string()))
    codes = codes.reshape(-1, LISTED)
    used = [at for at in range(LISTED) if at == 0 or (codes[:, at] >= 0).any()]
    columns = {f"{name}{at + 1 if at else ''}": np.ascontiguousarray(codes[:, at]) for at in used}
    return columns, dict.fromkeys(columns, names), f"categories {', '.join(columns)} of {len(names):,} values"


def _parsed(value: Any) -> list[Any]:
    """A list, of a file's own type or written as JSON; empty where it is missing or none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return [each for each in value if each is not None] if isinstance(value, list) else []


def _vectors(
    source: Source, name: str, rows: Sequence[Any], width: int
) -> tuple[dict[str, Array], dict[str, list[str]], str]:
    for at, row in enumerate(rows):
        if len(row) not in (0, width):
            raise DataError(
                f"{source.files[0]}: column {name!r}, item {at + 1}: {len(row)} numbers, others have {width}"
            )
    vectors = np.array([row or [np.nan] * width for row in rows], np.float32)
    kept = min(width, 16)
    if width > kept:
        vectors = _principal(vectors, kept)
    columns = {f"{name}_{at:02}": np.ascontiguousarray(vectors[:, at]) for at in range(kept)}
    return columns, {}, f"{kept} numbers of {width}" + (", principal components" if width > kept else "")


def _principal(vectors: Array, kept: int) -> Array:
    """The ``kept`` first principal components, NaN where a vector is missing; signs are fixed by the largest weight."""
    there = np.isfinite(vectors).all(axis=1)
    known = vectors[there].astype(np.float64)
    known -= known.mean(axis=0)
    _, axes = np.linalg.eigh(known.T @ known)
    axes = axes[:, ::-1][:, :kept]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(kept)])
    found = np.full((len(vectors), kept), np.nan, np.float32)
    found[there] = known @ axes
    return found
