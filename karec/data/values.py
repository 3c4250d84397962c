"""Reads tables of item and value, such as tags. An item has its most frequent values as categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from karec.data.checks import REASON, IdType, check_mistakes, check_rows
from karec.data.columns import find_column
from karec.data.contract import Contract
from karec.data.features import MAX_LISTED
from karec.data.files import ROW, Source
from karec.data.report import ColumnReport, Reason, TableReport
from karec.data.table_settings import ValueNames, Values
from karec.data.tables import OwnTable
from karec.errors import DataError

UNKNOWN_ITEM = "the item is not in items"
GIVEN_AGAIN = "one user, item and value with another row"
COUNTS = "value_counts"  # table: item, value, its name, n rows or users
NAMES = "value_names"  # table: __id, __name


def add_values(
    items: OwnTable, sources: Mapping[str, Source], contract: Contract, ids: IdType
) -> tuple[OwnTable, list[TableReport]]:
    """Adds the columns NAME, NAME2, NAME3 of each entry of ``items.values``, and returns the reports.

    An item has the values of most rows, ties by value, and −1 if it has fewer. ``sources`` has
    ``values.NAME`` and, if values have names in a file, ``names.NAME``.
    """
    assert contract.items is not None
    reports = []
    for name, values in contract.items.values.items():
        report = _count_values(name, sources, values, contract, ids)
        column = contract.items.roles.snapshot_names.get(name, name)
        items, column_report, n_unknown = _add_columns(items, sources[f"values.{name}"], column)
        left_out = {**report.left_out, **({UNKNOWN_ITEM: Reason(n_unknown)} if n_unknown else {})}
        columns = (*report.columns, column_report)
        reports.append(replace(report, kept=report.kept - n_unknown, left_out=left_out, columns=columns))
    return items, reports


def _count_values(
    name: str, sources: Mapping[str, Source], values: Values, contract: Contract, ids: IdType
) -> TableReport:
    """Creates COUNTS."""
    source, key = sources[f"values.{name}"], f"items.values.{name}"
    columns = {
        role: find_column(source, column, f"{key}.columns.{role}")
        for role, column in values.columns.named.items()
    }
    mistakes = ids.mistakes(columns["item"], "__item")
    mistakes += [
        (f"{column.cell} IS NULL", f"column {column.name!r}: the {role} is missing")
        for role, column in columns.items()
        if role != "item"
    ]
    mistakes += check_mistakes(source, contract, key)
    value = columns["value"].as_text
    cells = {"item": ids.value(columns["item"]), "value": value, "name": value}
    cells["giver"] = columns["user"].as_text if "user" in columns else ROW
    if values.names is not None:
        _read_names(sources[f"names.{name}"], values.names, contract, f"{key}.names")
        cells["name"] = f"(SELECT any_value(__name) FROM {NAMES} WHERE __id = {value})"
        mistakes.append(("__name IS NULL", f"column {columns['value'].name!r}: the value is not in names"))
    rows = check_rows(source, "value_rows", cells, mistakes)
    report = rows.report(key)
    source.database.run(
        f"CREATE OR REPLACE TEMP TABLE {COUNTS} AS SELECT item, value, any_value(name) AS name, "
        f"count(DISTINCT giver) AS n FROM {rows.name} WHERE {REASON} IS NULL GROUP BY item, value"
    )
    rows.drop()
    n_once = int(source.database.rows(f"SELECT sum(n)::BIGINT FROM {COUNTS}")[0][0])
    given_again = {GIVEN_AGAIN: Reason(report.kept - n_once)} if n_once < report.kept else {}
    left_out = {**report.left_out, **given_again}
    uses = tuple(ColumnReport(column.name, column.kind, role) for role, column in columns.items())
    return replace(report, kept=n_once, left_out=left_out, columns=uses)


def _read_names(source: Source, names: ValueNames, contract: Contract, key: str) -> None:
    """Creates NAMES. Raises DataError for a value with two names, or none."""
    columns = {"id": names.id, "name": names.name}
    cells = {role: find_column(source, name, f"{key}.{role}").as_text for role, name in columns.items()}
    cells["nth"] = f"row_number() OVER (PARTITION BY {cells['id']} ORDER BY {ROW})"
    mistakes = [
        ("__id IS NULL", f"column {names.id!r}: the value is missing"),
        ("__name IS NULL", f"column {names.name!r}: the name is missing"),
        *check_mistakes(source, contract, key),
        ("__nth > 1", f"column {names.id!r}: the value appears twice"),
    ]
    rows = check_rows(source, "name_rows", cells, mistakes)
    for reason, bad_rows in rows.reasons().items():
        place = bad_rows.places[0] if bad_rows.places else source.files[0]
        raise DataError(f"{place}: {reason}. Each value needs one name.")
    source.database.run(
        f"CREATE OR REPLACE TEMP TABLE {NAMES} AS SELECT id AS __id, name AS __name FROM {rows.name}"
    )
    rows.drop()


def _add_columns(items: OwnTable, source: Source, column: str) -> tuple[OwnTable, ColumnReport, int]:
    """Returns items with the values of COUNTS, the use of the column, and the rows of unknown items."""
    database = source.database
    with database.table("item_rows", {"item": items.ids, "row": np.arange(len(items.ids))}):
        unknown = f"SELECT coalesce(sum(n), 0)::BIGINT FROM {COUNTS} ANTI JOIN item_rows USING (item)"
        n_unknown = int(database.rows(unknown)[0][0])
        names = [name for (name,) in database.rows(f"SELECT DISTINCT name FROM {COUNTS} ORDER BY 1")]
        best = database.arrays(
            "SELECT row, nth, code FROM (SELECT item, dense_rank() OVER (ORDER BY name) - 1 AS code, "
            f"row_number() OVER (PARTITION BY item ORDER BY n DESC, value) AS nth FROM {COUNTS}) "
            f"JOIN item_rows USING (item) WHERE nth <= {MAX_LISTED}"
        )
    codes = np.full((MAX_LISTED, len(items.ids)), -1, np.int32)
    codes[best["nth"] - 1, best["row"]] = best["code"]
    columns = {f"{column}{at + 1 if at else ''}": codes[at] for at in range(MAX_LISTED)}
    use = f"categories {', '.join(columns)} of {len(names):,} values, those of most rows"
    all_names = {**items.names, **dict.fromkeys(columns, names)}
    items = replace(items, columns={**items.columns, **columns}, names=all_names)
    return items, ColumnReport(column, "text", use), n_unknown
