"""Items and users → the tables of a snapshot: a row an id; what each column becomes is in ``columns.py``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, SONG
from karec.data.checks import check_mistakes, id_column, said_column
from karec.data.columns import Become, Numbers, Wanted, become, log_becomes, vectors_become
from karec.data.contract import Contract, Items, Rows
from karec.data.database import Database, database_errors
from karec.data.events import IdKind, number_mistakes
from karec.data.files import FILE_NUMBER, ROW, Source
from karec.data.kinds import Column
from karec.data.reasons import WHY, Mistake, nothing_kept, reasons, why_of
from karec.data.report import SHOWN_LINES, ColumnReport, Reason, TableReport, moment
from karec.errors import DataError

VECTORS = ".npy"
TWICE, SAME = "the id stands twice, with other values", "the id stands twice, with the same values"


@dataclass(frozen=True, eq=False)
class OwnTable:
    """``ids`` as the files have them (Arrow); ``columns``, and ``names`` of category codes, as a snapshot has
    them."""

    ids: Any
    columns: dict[str, NDArray[Any]]
    names: dict[str, list[str]]
    report: TableReport


def read_table(
    database: Database,
    source: Source,
    table: Rows,
    contract: Contract,
    kind: IdKind,
    numbers: Numbers | None = None,
) -> OwnTable:
    """Of an id that stands twice with the same values one row is kept; with other values, all but the first
    are mistakes. ``numbers`` of creators and songs that are texts; ``contract`` holds the table.
    """
    what = f"{kind.what}s"
    wanted = _wanted(database, source, table, what)
    logged = _logged(database, source, table, what)
    mistakes = check_mistakes(database, source, table.checks, what, ZoneInfo(contract.zone))
    mistakes += [mistake for column in logged.values() for mistake in number_mistakes(column, least=0)]
    cells = {f"c{at}": each.cell for at, each in enumerate(wanted)}
    cells |= {f"n{at}": column.as_number for at, column in enumerate(logged.values())}
    found, bad, rows, same = _rows(database, source, table, kind, cells, mistakes)
    odd = _odd_cells(database, source, wanted)
    made: dict[str, NDArray[Any]] = {}
    names: dict[str, list[str]] = {}
    reports = []
    for at, each in enumerate(wanted):
        values = found[f"c{at}"]
        try:
            became = become(each, values, numbers)
        except DataError as error:
            raise DataError(f"{source.files[0]}: {error}") from error
        made |= became.columns
        names |= became.names
        reports.append(replace(_report(each, values, became), odd=odd.get(each.column.name)))
    if isinstance(table, Items) and table.roles.vector is not None and table.roles.vector.endswith(VECTORS):
        path = contract.folder / table.roles.vector
        became = _beside(path, found["row"].to_numpy(), rows)
        made |= became.columns
        reports.append(ColumnReport(path.name, "list", became.said))
    logs = {
        name: found[f"n{at}"].to_numpy(zero_copy_only=False).astype(np.float64)
        for at, name in enumerate(logged)
    }
    for name, log in table.logs.items():
        became = log_becomes(name, log, logs)
        made |= became.columns
        missing = float(np.mean([np.isnan(logs[column]) for column in log.columns]))
        least, most = _range(made[name])
        reports.append(ColumnReport(", ".join(log.columns), "number", became.said, missing, least, most))
    used = {table.id, *(each.column.name for each in wanted), *logged}
    unused = [ColumnReport(name, "", "not used") for name in source.columns if name not in used]
    id_report = ColumnReport(table.id, "integer" if kind.integers else "text", "id")
    report = TableReport(
        what, tuple(map(str, source.files)), rows, len(found["id"]), bad,
        {SAME: Reason(same)} if same else {},
        (id_report, *reports, *unused),
    )  # fmt: skip
    return OwnTable(found["id"], made, names, report)


def _wanted(database: Database, source: Source, table: Rows, what: str) -> list[Wanted]:
    """The columns that become something. DataError: the contract names a column that the files lack."""
    roles = table.roles.named if isinstance(table, Items) else {}
    if isinstance(table, Items):
        roles = {column: role for column, role in roles.items() if column not in table.values}
    said = {table.id: f"{what}.id", **dict.fromkeys(roles, f"{what}.roles")}
    said |= dict.fromkeys(table.ignore, f"{what}.ignore") | dict.fromkeys(
        table.categories, f"{what}.categories"
    )
    said |= dict.fromkeys(table.lists, f"{what}.lists") | dict.fromkeys(table.unknown, f"{what}.unknown")
    said |= dict.fromkeys(table.features or (), f"{what}.features")
    if (
        isinstance(table, Items)
        and table.roles.vector is not None
        and not table.roles.vector.endswith(VECTORS)
    ):
        said[table.roles.vector] = f"{what}.roles.vector"
    for name, asked in said.items():
        source.column(name, asked)
    taken = {column for log in table.logs.values() for column in log.columns} | {table.id, *table.ignore}
    features = set(source.columns) - taken if table.features is None else {*table.features, *table.lists}
    vector = table.roles.vector if isinstance(table, Items) else None
    return [
        Wanted(
            (id_column if roles.get(name) in (CREATOR, SONG) else said_column)(
                database, source, name, table.checks
            ),
            roles.get(name),
            table.lists.get(name),
            name in table.categories,
            table.unknown.get(name, ()),
            table.missing,
        )
        for name in source.columns
        if name in features or name in roles or name == vector
    ]


def _logged(database: Database, source: Source, table: Rows, what: str) -> dict[str, Column]:
    """The columns of ``table.logs``."""
    found = {}
    for name, log in table.logs.items():
        for column in log.columns:
            source.column(column, f"{what}.logs.{name}")
            found[column] = said_column(database, source, column, table.checks)
    return found


def _rows(
    database: Database,
    source: Source,
    table: Rows,
    kind: IdKind,
    cells: dict[str, str],
    mistakes: list[Mistake],
) -> tuple[Any, dict[str, Reason], int, int]:
    """(kept rows as Arrow: id, row and ``cells``; mistakes; rows that were read; rows that only repeat
    another)."""
    id_column = said_column(database, source, table.id, table.checks)
    mistakes = [*kind.mistakes(id_column, "__id"), *mistakes, ("false", f"column {table.id!r}: {TWICE}")]
    listed = "".join(f", {cell} AS {name}" for name, cell in cells.items())
    names = "".join(f", {name}" for name in cells)
    with database_errors(source.files[0]):
        database.run(
            f"CREATE TEMP TABLE rows_read AS SELECT __id AS id{listed}, {why_of(mistakes)} AS {WHY}, {ROW}, "
            f"{FILE_NUMBER} FROM (SELECT *, {kind.value(id_column)} AS __id FROM {source.name})"
        )
    database.run(
        f"CREATE TEMP TABLE ranked AS SELECT *, row_number() OVER (ORDER BY {FILE_NUMBER}, {ROW}) AS row, "
        f"CASE WHEN {WHY} IS NULL THEN row_number() OVER (PARTITION BY id, {WHY} ORDER BY {FILE_NUMBER}, "
        f"{ROW}) END AS nth FROM rows_read"
    )
    database.run(
        f"UPDATE ranked SET {WHY} = {len(mistakes) - 1} FROM (SELECT * FROM ranked WHERE nth = 1) AS first "
        f"WHERE ranked.nth > 1 AND ranked.id = first.id AND ({_differ(cells)})"
    )
    bad = reasons(database, source, "ranked", mistakes)
    found = database.arrow(f"SELECT id, row{names} FROM ranked WHERE nth = 1 ORDER BY row")
    good = database.count("ranked", f"{WHY} IS NULL")
    for each in ("rows_read", "ranked"):
        database.run(f"DROP TABLE {each}")
    if not len(found["id"]):
        raise DataError(nothing_kept(f"{kind.what}s", source, bad))
    return found, bad, good + sum(reason.count for reason in bad.values()), good - len(found["id"])


def _odd_cells(database: Database, source: Source, wanted: list[Wanted]) -> dict[str, Reason]:
    """{column: rows whose cell is there, and is not what most of the column's cells are}."""
    conditions = {each.column.name: each.is_odd for each in wanted if each.is_odd is not None}
    if not conditions:
        return {}
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions.values())
    with database_errors(source.files[0]):
        found = zip(conditions, database.rows(f"SELECT {counts} FROM {source.name}")[0], strict=True)
    reasons_of = {}
    for name, count in found:
        if count:
            rows = database.rows(
                f"SELECT {FILE_NUMBER}, {ROW} FROM {source.name} WHERE {conditions[name]} "
                f"ORDER BY {FILE_NUMBER}, {ROW} LIMIT {SHOWN_LINES}"
            )
            places = source.places(rows, source.broken(database))
            reasons_of[name] = Reason(count, tuple(places[row] for row in rows))
    return reasons_of


def _differ(cells: dict[str, str]) -> str:
    return " OR ".join(f"ranked.{name} IS DISTINCT FROM first.{name}" for name in cells) or "false"


def _report(wanted: Wanted, values: Any, became: Become) -> ColumnReport:
    """With the range of a number or a moment."""
    column = wanted.column
    least, most = "", ""
    numbers = [each for each in became.columns.values() if each.dtype == np.float32]
    moments = [each[each > 0] for name, each in became.columns.items() if name.endswith("_ms")]
    if became.said == "number":
        least, most = _range(numbers[0])
    elif became.said.startswith("moment") and len(moments[0]):
        least, most = moment(int(moments[0].min())), moment(int(moments[0].max()))
    missing = values.null_count / max(len(values), 1)
    return ColumnReport(column.name, column.kind, became.said, missing, least, most, became.alone)


def _range(numbers: NDArray[Any]) -> tuple[str, str]:
    """The least and the most, for people; "" where no number is there."""
    there = numbers[np.isfinite(numbers)]
    return (f"{there.min():g}", f"{there.max():g}") if len(there) else ("", "")


def _beside(path: Path, row: NDArray[Any], rows: int) -> Become:
    """The file of vectors: ``row (N,)`` are the places of the kept items among the ``rows`` of the table,
    from 1."""
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array of NumPy: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise DataError(
            f"{path} holds {vectors.dtype} of shape {vectors.shape}: (rows, numbers) of numbers is wanted"
        )
    if len(vectors) != rows:
        raise DataError(
            f"{path} has {len(vectors):,} rows, items have {rows:,}: one for each, in their order, is wanted"
        )
    return vectors_become("vector", np.asarray(vectors[row - 1], np.float32))
