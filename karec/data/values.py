"""Pairs of an item and a value, such as tags that users gave → columns of items: the values that stand most
often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np

from karec.data.checks import check_mistakes, said_column
from karec.data.columns import LISTED
from karec.data.contract import Contract, Values
from karec.data.database import Database, database_errors
from karec.data.events import IdKind
from karec.data.files import FILE_NUMBER, ROW, Source
from karec.data.reasons import WHY, nothing_kept, reasons, why_of
from karec.data.report import ColumnReport, Reason, TableReport
from karec.data.tables import OwnTable
from karec.errors import DataError

UNKNOWN_ITEM = "the item is not in items"
GIVEN_AGAIN = "one user, item and value with another row"


def with_values(
    database: Database, sources: Mapping[str, Source], contract: Contract, items: OwnTable, kind: IdKind
) -> tuple[OwnTable, list[TableReport]]:
    """``items`` with the columns NAME, NAME2, NAME3 of each entry of the contract's ``items.values``,
    categories: of each item the values of most rows, ties by value; −1 where it has fewer. And what was read.
    ``sources`` has "values.NAME" and, where values are named elsewhere, "names.NAME".
    """
    assert contract.items is not None
    table, zone, reports = contract.items, ZoneInfo(contract.zone), []
    for name, values in table.values.items():
        report = _count(database, name, sources, values, kind, zone)
        column = table.roles.named.get(name, name)
        items, told_of, unknown = _add(database, items, column)
        left_out = {**report.left_out, **({UNKNOWN_ITEM: Reason(unknown)} if unknown else {})}
        kept = report.kept - unknown
        reports.append(replace(report, kept=kept, left_out=left_out, columns=(*report.columns, told_of)))
        for each in ("value_rows", "value_counts"):
            database.run(f"DROP TABLE {each}")
    return items, reports


def _count(
    database: Database, name: str, sources: Mapping[str, Source], values: Values, kind: IdKind, zone: ZoneInfo
) -> TableReport:
    """Makes the table ``value_counts``: item, value, its name and n, how many rows, or users, have both."""
    source, what = sources[f"values.{name}"], f"items.values.{name}"
    columns = {asked: each for asked, each in vars(values.columns).items() if each is not None}
    of = {}
    for asked, column in columns.items():
        source.column(column, f"{what}.columns.{asked}")
        of[asked] = said_column(database, source, column, values.checks)
    mistakes = kind.mistakes(of["item"], "__i")
    mistakes += [
        (f"{of[asked].cell} IS NULL", f"column {column!r}: the {asked} is missing")
        for asked, column in columns.items()
        if asked != "item"
    ]
    mistakes += check_mistakes(database, source, values.checks, what, zone)
    value = of["value"].as_text
    called, joined = value, ""
    if values.names is not None:
        _read_names(database, name, sources[f"names.{name}"], values, zone)
        mistakes.append(("__id IS NULL", f"column {of['value'].name!r}: the value is not in names"))
        called, joined = "__called", f" LEFT JOIN value_names ON {value} = __id"
    giver = of["user"].as_text if "user" in of else f"{FILE_NUMBER} || ' ' || {ROW}"
    cells = f"__i AS item, {value} AS value, {called} AS called, {giver} AS giver"
    with database_errors(source.files[0]):
        database.run(
            f"CREATE TEMP TABLE value_rows AS SELECT {cells}, {why_of(mistakes)} AS {WHY}, {ROW}, "
            f"{FILE_NUMBER} FROM (SELECT *, {kind.value(of['item'])} AS __i FROM {source.name}){joined}"
        )
    bad = reasons(database, source, "value_rows", mistakes)
    kept = database.count("value_rows", f"{WHY} IS NULL")
    if not kept:
        raise DataError(nothing_kept(what, source, bad))
    if joined:
        database.run("DROP TABLE value_names")
    database.run(
        "CREATE TEMP TABLE value_counts AS SELECT item, value, any_value(called) AS called, count(DISTINCT "
        f"giver) AS n FROM value_rows WHERE {WHY} IS NULL GROUP BY item, value"
    )
    rows = kept + sum(reason.count for reason in bad.values())
    once = database.rows("SELECT sum(n)::BIGINT FROM value_counts")[0][0]
    again = {GIVEN_AGAIN: Reason(kept - once)} if once < kept else {}
    told_of = tuple(ColumnReport(each.name, each.kind, asked) for asked, each in of.items())
    return TableReport(what, tuple(map(str, source.files)), rows, once, bad, again, told_of)


def _read_names(database: Database, name: str, source: Source, values: Values, zone: ZoneInfo) -> None:
    """Makes the table ``value_names``: __id, __called. DataError: a value that has two names, or none."""
    names, what = values.names, f"items.values.{name}.names"
    assert names is not None
    for asked, column in (("id", names.id), ("name", names.name)):
        source.column(column, f"{what}.{asked}")
    of_id, of_name = (said_column(database, source, each, names.checks) for each in (names.id, names.name))
    mistakes = [
        (f"{of_id.cell} IS NULL", f"column {of_id.name!r}: the value is missing"),
        (f"{of_name.cell} IS NULL", f"column {of_name.name!r}: the name is missing"),
        *check_mistakes(database, source, names.checks, what, zone),
        ("__nth > 1", f"column {of_id.name!r}: the value stands twice"),
    ]
    nth = f"row_number() OVER (PARTITION BY {of_id.as_text} ORDER BY {FILE_NUMBER}, {ROW}) AS __nth"
    with database_errors(source.files[0]):
        database.run(
            f"CREATE TEMP TABLE name_rows AS SELECT {of_id.as_text} AS __id, {of_name.as_text} AS __called, "
            f"{ROW}, {FILE_NUMBER}, {why_of(mistakes)} AS {WHY} FROM (SELECT *, {nth} FROM {source.name})"
        )
    bad = reasons(database, source, "name_rows", mistakes)
    if bad:
        why, reason = next(iter(bad.items()))
        raise DataError(
            f"{reason.places[0] if reason.places else source.files[0]}: {why}: names of values must be whole"
        )
    database.run("CREATE TEMP TABLE value_names AS SELECT __id, __called FROM name_rows")
    database.run("DROP TABLE name_rows")


def _add(database: Database, items: OwnTable, column: str) -> tuple[OwnTable, ColumnReport, int]:
    """(``items`` with the values of ``value_counts``, what is told of them, rows of items that are not
    there)."""
    with database.table("item_rows", {"item": items.ids, "row": np.arange(len(items.ids))}):
        unknown = database.rows(
            "SELECT coalesce(sum(n), 0)::BIGINT FROM value_counts ANTI JOIN item_rows USING (item)"
        )[0][0]
        names = [each for (each,) in database.rows("SELECT DISTINCT called FROM value_counts ORDER BY 1")]
        with database.table("codes", {"called": names, "code": np.arange(len(names), dtype=np.int32)}):
            found = database.arrow(
                "SELECT row, code, nth FROM (SELECT row, called, row_number() OVER (PARTITION BY item ORDER "
                "BY n DESC, value) AS nth FROM value_counts JOIN item_rows USING (item)) JOIN codes USING "
                f"(called) WHERE nth <= {LISTED}"
            )
    made = {f"{column}{at + 1 if at else ''}": np.full(len(items.ids), -1, np.int32) for at in range(LISTED)}
    row, code, nth = (found[each].to_numpy() for each in ("row", "code", "nth"))
    for at, codes in enumerate(made.values(), 1):
        codes[row[nth == at]] = code[nth == at]
    said = f"categories {', '.join(made)} of {len(names):,} values, those of most rows"
    more = replace(
        items, columns={**items.columns, **made}, names={**items.names, **dict.fromkeys(made, names)}
    )
    return more, ColumnReport(column, "text", said), unknown
