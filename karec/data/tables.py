"""Reads items, users and items of other types: one row for an id, and snapshot columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, SONG
from karec.data.checks import (
    REASON,
    CheckedRows,
    IdType,
    check_mistakes,
    check_rows,
    number_mistakes,
)
from karec.data.columns import find_column, find_id_column
from karec.data.contract import Contract
from karec.data.features import (
    InputColumn,
    NumberIds,
    SnapshotColumns,
    log_columns,
    make_columns,
    vector_columns,
)
from karec.data.files import ROW, Source
from karec.data.report import MAX_PLACES, ColumnReport, Reason, TableReport, format_time
from karec.data.table_settings import ItemRows, Items, Rows
from karec.errors import DataError

SAME = "the id appears twice, with the same values"
TWICE = "the id appears twice, with other values"


@dataclass(frozen=True, eq=False)
class OwnTable:
    """Items or users: ids of the files (pyarrow.Array), snapshot columns, names of category codes."""

    ids: Any
    columns: dict[str, NDArray[Any]]
    names: dict[str, list[str]]
    report: TableReport


def read_table(source: Source, key: str, contract: Contract, ids: IdType, number_ids: NumberIds) -> OwnTable:
    """Reads the table ``key`` of the contract: items, users or items.TYPE.

    The first row of an id is kept. Other rows of it are mistakes if their values differ.
    ``number_ids`` maps creators and songs.
    """
    table = source.table
    assert isinstance(table, Rows)
    inputs = _input_columns(source, table, key)
    log_inputs = {
        column: find_column(source, column, f"{key}.logs.{name}")
        for name, log in table.logs.items()
        for column in log.columns
    }
    id_column = find_column(source, table.id, f"{key}.id")
    cells = {"id": ids.value(id_column)}
    cells |= {f"c{at}": column.cell for at, column in enumerate(inputs)}
    cells |= {f"n{at}": column.as_number for at, column in enumerate(log_inputs.values())}
    mistakes = ids.mistakes(id_column, "__id") + check_mistakes(source, contract, key)
    mistakes += [mistake for column in log_inputs.values() for mistake in number_mistakes(column, minimum=0)]
    mistakes.append(("false", f"column {table.id!r}: {TWICE}"))
    odd_sql = {f"odd{at}": column.is_odd for at, column in enumerate(inputs) if column.is_odd is not None}
    rows = _mark_repeated(check_rows(source, "table_rows", {**cells, **odd_sql}, mistakes), cells)
    report, odd_cells = rows.report(key), _odd_cells(rows, inputs)
    values = source.database.arrow(
        f"SELECT * FROM {rows.name} WHERE {REASON} IS NULL AND nth = 1 ORDER BY {ROW}"
    )
    rows.drop()
    features = _features(source, inputs, values, odd_cells, number_ids)
    if isinstance(table, ItemRows) and table.roles.vector_file is not None:
        path = contract.folder / table.roles.vector_file
        vectors = _read_vectors(path, values["place"].to_numpy(), report.rows)
        features.append((vectors, ColumnReport(path.name, "list", vectors.use)))
    if not isinstance(table, ItemRows):
        _reject_vectors(source, features)
    features += _log_features(table, {name: values[f"n{at}"] for at, name in enumerate(log_inputs)})
    used_names = {table.id, *(column.column.name for column in inputs), *log_inputs}
    reports = [ColumnReport(table.id, "integer" if ids.is_integer else "text", "id")]
    reports += [column_report for _, column_report in features]
    reports += [ColumnReport(name, "", "not used") for name in source.types if name not in used_names]
    n_kept = len(values["id"])
    left_out = {SAME: Reason(report.kept - n_kept)} if n_kept < report.kept else {}
    return OwnTable(
        values["id"],
        {name: column for part, _ in features for name, column in part.columns.items()},
        {name: names for part, _ in features for name, names in part.names.items()},
        replace(report, kept=n_kept, left_out={**report.left_out, **left_out}, columns=tuple(reports)),
    )


def with_codes(table: OwnTable, column: str, names: list[str]) -> OwnTable:
    """Returns the table with the positions in ``names`` as codes of the category ``column``."""
    code_of = {name: code for code, name in enumerate(names)}
    codes = np.array([*(code_of[name] for name in table.names[column]), -1], np.int32)
    columns = {**table.columns, column: codes[table.columns[column]]}
    return replace(table, columns=columns, names={**table.names, column: names})


def _features(
    source: Source,
    inputs: list[InputColumn],
    values: dict[str, Any],
    odd_cells: list[Reason | None],
    number_ids: NumberIds,
) -> list[tuple[SnapshotColumns, ColumnReport]]:
    features = []
    for at, column in enumerate(inputs):
        try:
            feature = make_columns(column, values[f"c{at}"], number_ids)
        except DataError as error:
            raise DataError(f"{source.files[0]}: {error}") from error
        features.append(
            (feature, replace(_report(column, values[f"c{at}"], feature), odd_cells=odd_cells[at]))
        )
    return features


def _reject_vectors(source: Source, features: list[tuple[SnapshotColumns, ColumnReport]]) -> None:
    for feature, report in features:
        if any(column.ndim > 1 for column in feature.columns.values()):
            raise DataError(
                f"{source.files[0]}: column {report.name!r} of users has vectors, which only items have. "
                "Add it to ignore."
            )


def _log_features(table: Rows, cells: dict[str, Any]) -> list[tuple[SnapshotColumns, ColumnReport]]:
    numbers = {name: np.asarray(cell.to_numpy(zero_copy_only=False), float) for name, cell in cells.items()}
    features = []
    for name, log in table.logs.items():
        feature = log_columns(name, log, numbers)
        missing = float(np.mean([np.isnan(numbers[column]) for column in log.columns]))
        span = _range(feature.columns[name])
        features.append(
            (feature, ColumnReport(", ".join(log.columns), "number", feature.use, missing, *span))
        )
    return features


def _input_columns(source: Source, table: Rows, key: str) -> list[InputColumn]:
    """Returns the columns that become something. Raises DataError if data.toml names one that is missing."""
    roles, vector = {}, None
    if isinstance(table, ItemRows):
        values = table.values if isinstance(table, Items) else {}
        roles = {name: role for name, role in table.roles.snapshot_names.items() if name not in values}
        vector = table.roles.vector if table.roles.vector_file is None else None
    settings = {"roles": roles, "ignore": table.ignore, "categories": table.categories, "lists": table.lists}
    settings |= {"unknown": table.unknown, "features": table.features or ()}
    settings["roles.vector"] = () if vector is None else (vector,)
    for setting, columns in settings.items():
        for name in columns:
            source.require(name, f"{key}.{setting}")
    features = {*(table.features or ()), *table.lists}
    if table.features is None:
        in_logs = {column for log in table.logs.values() for column in log.columns}
        features = set(source.types) - in_logs - {table.id, *table.ignore}
    return [
        InputColumn(
            (find_id_column if roles.get(name) in (CREATOR, SONG) else find_column)(source, name, key),
            roles.get(name),
            table.lists.get(name),
            name in table.categories,
            table.unknown.get(name, ()),
            table.missing,
        )
        for name in source.types
        if name in features or name in roles or name == vector
    ]


def _mark_repeated(rows: CheckedRows, cells: dict[str, str]) -> CheckedRows:
    """Adds ``place``, the row's number in all files, and ``nth``, its number among good rows of its id.

    A good row with other values than the first of its id gets the last mistake.
    """
    database, name = rows.source.database, f"{rows.name}_ranked"
    reason = (
        f"CASE WHEN {REASON} IS NULL AND h <> first_h THEN {len(rows.mistakes) - 1} ELSE {REASON} END "
        f"AS {REASON}"
    )
    database.run(
        f"CREATE TEMP TABLE {name} AS SELECT * REPLACE ({reason}) FROM (SELECT *, "
        f"row_number() OVER (ORDER BY {ROW}) AS place, row_number() OVER ids AS nth, "
        f"first_value(h) OVER ids AS first_h FROM (SELECT *, hash({', '.join(cells)}) AS h FROM {rows.name}) "
        f"WINDOW ids AS (PARTITION BY id, {REASON} IS NULL ORDER BY {ROW}))"
    )
    rows.drop()
    return replace(rows, name=name)


def _odd_cells(rows: CheckedRows, inputs: list[InputColumn]) -> list[Reason | None]:
    """Returns for each column the rows whose cell is not what the column holds."""
    cells = [f"odd{at}" for at, column in enumerate(inputs) if column.is_odd is not None]
    firsts = [f"count(*) FILTER ({cell}), min({ROW}, {MAX_PLACES}) FILTER ({cell})" for cell in cells]
    _, *counts = rows.source.database.rows(f"SELECT {', '.join(['0', *firsts])} FROM {rows.name}")[0]
    places = rows.source.places([row for odd in counts[1::2] for row in odd or ()])
    odd: list[Reason | None] = [None] * len(inputs)
    for cell, count, first in zip(cells, counts[::2], counts[1::2], strict=True):
        if count:
            odd[int(cell.removeprefix("odd"))] = Reason(count, tuple(places[row] for row in first))
    return odd


def _report(column: InputColumn, values: Any, feature: SnapshotColumns) -> ColumnReport:
    span = ("", "")
    if feature.use == "number":
        span = _range(feature.columns[column.name])
    elif column.is_time:
        (times,) = feature.columns.values()
        known_times = times[times > 0]
        if len(known_times):
            span = format_time(int(known_times.min())), format_time(int(known_times.max()))
    missing = values.null_count / max(len(values), 1)
    source = column.column
    return ColumnReport(source.name, source.kind, feature.use, missing, *span, feature.rare_names)


def _range(numbers: NDArray[Any]) -> tuple[str, str]:
    finite = numbers[np.isfinite(numbers)]
    return (f"{finite.min():g}", f"{finite.max():g}") if len(finite) else ("", "")


def _read_vectors(path: Path, places: NDArray[Any], n_rows: int) -> SnapshotColumns:
    """Reads a .npy file with a vector for each of ``n_rows``; ``places`` are the kept rows, from 1."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array of NumPy: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise DataError(
            f"{path} holds {vectors.dtype} of shape {vectors.shape}, expected (rows, numbers) of numbers"
        )
    if len(vectors) != n_rows:
        raise DataError(
            f"{path} has {len(vectors):,} rows, items have {n_rows:,}, expected one for each, in their order"
        )
    try:
        return vector_columns("vector", vectors[places - 1])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
