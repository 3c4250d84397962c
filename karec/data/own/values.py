"""Pairs of an item and a value, such as tags that users gave → columns of items: the values that stand most often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from karec.data.own.columns import LISTED
from karec.data.own.contract import Items, Values
from karec.data.own.database import Database, told
from karec.data.own.events import IdKind
from karec.data.own.files import FILE_NUMBER, ROW, Source
from karec.data.own.kinds import column_of
from karec.data.own.reasons import WHY, nothing_kept, reasons, why_of
from karec.data.own.report import ColumnReport, TableReport
from karec.data.own.tables import OwnTable
from karec.errors import DataError

UNKNOWN_ITEM = "the item is not in items"


def with_values(
    database: Database, sources: Mapping[str, Source], table: Items, items: OwnTable, kind: IdKind
) -> tuple[OwnTable, list[TableReport]]:
    """``items`` with the columns NAME, NAME2, NAME3 of each entry of ``table.values``, categories: of each item the
    values of most rows, ties by value; −1 where it has fewer. And what was read. ``sources`` has "values.NAME" and,
    where values are named elsewhere, "names.NAME".
    """
    reports = []
    for name, values in table.values.items():
        report = _count(database, name, sources, values, kind)
        column = table.roles.named.get(name, name)
        items, told_of = _add(database, items, column)
        reports.append(replace(report, columns=(*report.columns, told_of)))
        for each in ("value_rows", "value_counts"):
            database.run(f"DROP TABLE {each}")
    return items, reports


def _count(database: Database, name: str, sources: Mapping[str, Source], values: Values, kind: IdKind) -> TableReport:
    """Makes the table ``value_counts``: item, value, its name and n, how many rows have both."""
    source, what = sources[f"values.{name}"], f"items.values.{name}"
    for asked, column in (("item", values.columns.item), ("value", values.columns.value)):
        source.column(column, f"{what}.columns.{asked}")
    of_item, of_value = (column_of(database, source, each) for each in (values.columns.item, values.columns.value))
    mistakes = [
        *kind.mistakes(of_item, "__i"),
        (f"{of_value.cell} IS NULL", f"column {of_value.name!r}: the value is missing"),
    ]
    named, joined = "value", ""
    if values.names is not None:
        _read_names(database, name, sources[f"names.{name}"], values)
        mistakes.append(("value_names.id IS NULL", f"column {of_value.name!r}: the value is not in names"))
        named, joined = "value_names.name", f" LEFT JOIN value_names ON {of_value.as_text} = value_names.id"
    cells = f"__i AS item, {of_value.as_text} AS value, {named} AS called"
    with told(source.files[0]):
        database.run(
            f"CREATE TEMP TABLE value_rows AS SELECT {cells}, {why_of(mistakes)} AS {WHY}, {ROW}, {FILE_NUMBER} "
            f"FROM (SELECT *, {kind.value(of_item)} AS __i FROM {source.name}){joined}"
        )
    bad = reasons(database, source, "value_rows", mistakes)
    kept = database.count("value_rows", f"{WHY} IS NULL")
    if not kept:
        raise DataError(nothing_kept(what, source, bad))
    if joined:
        database.run("DROP TABLE value_names")
    database.run(
        f"CREATE TEMP TABLE value_counts AS SELECT item, value, any_value(called) AS called, count(*) AS n "
        f"FROM value_rows WHERE {WHY} IS NULL GROUP BY item, value"
    )
    rows = kept + sum(reason.count for reason in bad.values())
    columns = tuple(ColumnReport(each.name, each.kind, role) for each, role in ((of_item, "item"), (of_value, "value")))
    return TableReport(what, tuple(map(str, source.files)), rows, kept, bad, {}, columns)


def _read_names(database: Database, name: str, source: Source, values: Values) -> None:
    """Makes the table ``value_names``: id, name. DataError: a value that has two names, or none."""
    assert values.names is not None
    for asked, column in (("id", values.names.id), ("name", values.names.name)):
        source.column(column, f"items.values.{name}.names.{asked}")
    of_id, of_name = (column_of(database, source, each) for each in (values.names.id, values.names.name))
    with told(source.files[0]):
        database.run(
            f"CREATE TEMP TABLE name_rows AS SELECT {of_id.as_text} AS id, {of_name.as_text} AS name, {ROW}, "
            f"{FILE_NUMBER}, row_number() OVER (PARTITION BY {of_id.as_text} ORDER BY {FILE_NUMBER}, {ROW}) AS nth, "
            f"FROM {source.name}"
        )
    mistakes = [
        ("id IS NULL", f"column {of_id.name!r}: the value is missing"),
        ("name IS NULL", f"column {of_name.name!r}: the name is missing"),
        ("nth > 1", f"column {of_id.name!r}: the value stands twice"),
    ]
    database.run(f"CREATE TEMP TABLE names_why AS SELECT *, {why_of(mistakes)} AS {WHY} FROM name_rows")
    bad = reasons(database, source, "names_why", mistakes)
    if bad:
        why, reason = next(iter(bad.items()))
        raise DataError(
            f"{reason.places[0] if reason.places else source.files[0]}: {why}: names of values must be whole"
        )
    database.run("CREATE TEMP TABLE value_names AS SELECT id, name FROM name_rows")
    for each in ("name_rows", "names_why"):
        database.run(f"DROP TABLE {each}")


def _add(database: Database, items: OwnTable, column: str) -> tuple[OwnTable, ColumnReport]:
    with database.table("item_rows", item=items.ids, row=np.arange(len(items.ids))):
        unknown = database.rows("SELECT coalesce(sum(n), 0) FROM value_counts ANTI JOIN item_rows USING (item)")[0][0]
        names = [each for (each,) in database.rows("SELECT DISTINCT called FROM value_counts ORDER BY 1")]
        with database.table("codes", called=names, code=np.arange(len(names), dtype=np.int32)):
            found = database.arrow(
                "SELECT row, code, nth FROM (SELECT row, called, row_number() OVER (PARTITION BY item ORDER BY n DESC, "
                f"value) AS nth FROM value_counts JOIN item_rows USING (item)) JOIN codes USING (called) "
                f"WHERE nth <= {LISTED}"
            )
    made = {f"{column}{at + 1 if at else ''}": np.full(len(items.ids), -1, np.int32) for at in range(LISTED)}
    row, code, nth = (found[each].to_numpy() for each in ("row", "code", "nth"))
    for at, codes in enumerate(made.values(), 1):
        codes[row[nth == at]] = code[nth == at]
    said = f"categories {', '.join(made)} of {len(names):,} values, those of most rows"
    if unknown:
        said += f"; {unknown:,} rows are of items that are not in items"
    more = replace(items, columns={**items.columns, **made}, names={**items.names, **dict.fromkeys(made, names)})
    return more, ColumnReport(column, "text", said)
