"""Reads the tables [items.TYPE]: items of a type other than works, and the works of each item."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.catalog.item_types import ItemTable
from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.data.checks import REASON, IdType, check_mistakes, check_rows
from karec.data.columns import find_id_column
from karec.data.contract import Contract
from karec.data.files import Source
from karec.data.ids import REPEATED_PAIR, IdNumbers
from karec.data.report import TableReport
from karec.data.table_settings import Works
from karec.data.tables import OwnTable, read_table, with_codes
from karec.errors import DataError


def read_item_type(
    name: str, sources: Mapping[str, Source], contract: Contract, ids: IdNumbers, work_ids: IdType
) -> tuple[OwnTable, Relation | None, list[TableReport]]:
    """Returns the items of the type, the relation to their works if a table has it, and the reports.

    Adds the ids of the items to ``ids``, which has those of works. ``sources`` has ``items.NAME`` and, for
    a table of works, ``items.NAME.works``.
    """
    key, settings = f"items.{name}", contract.item_types[name]
    id_columns = [find_id_column(sources[key], settings.id, f"{key}.id")]
    if isinstance(settings.works, Works):
        id_columns.append(find_id_column(sources[f"{key}.works"], settings.works.item, f"{key}.works.item"))
    item_ids = IdType.from_columns("item", id_columns)
    items = read_table(sources[key], key, contract, item_ids, ids.number_role_of_type)
    ids.build(key, items.ids)
    if not isinstance(settings.works, Works):
        return items, None, [items.report]
    works, report = _read_works(sources[f"{key}.works"], key, contract, ids, (item_ids, work_ids))
    return items, works, [items.report, report]


def _read_works(
    source: Source, type_key: str, contract: Contract, ids: IdNumbers, types: tuple[IdType, IdType]
) -> tuple[Relation, TableReport]:
    key, settings = f"{type_key}.works", source.table
    assert isinstance(settings, Works)
    item, work = (
        find_id_column(source, column, f"{key}.{role}")
        for role, column in (("item", settings.item), ("work", settings.work))
    )
    unknown = [
        (
            "__item NOT IN (SELECT id FROM known_items)",
            f"column {item.name!r}: the item is not in {type_key}",
        ),
        ("__work NOT IN (SELECT id FROM known_works)", f"column {work.name!r}: the work is not in items"),
    ]
    mistakes = types[0].mistakes(item, "__item") + types[1].mistakes(work, "__work")
    mistakes += check_mistakes(source, contract, key) + unknown
    cells, database = {"item": types[0].value(item), "work": types[1].value(work)}, source.database
    with (
        database.table("known_items", {"id": ids.ids[type_key]}),
        database.table("known_works", {"id": ids.ids["items"]}),
    ):
        rows = check_rows(source, "item_works", cells, mistakes)
    report = rows.report(key)
    pairs = database.arrow(f"SELECT DISTINCT item, work FROM item_works WHERE {REASON} IS NULL")
    rows.drop()
    row = Table(ids.rows[type_key], {}).lookup(ids.maps[type_key].numbers(pairs["item"]))
    number = ids.maps["items"].numbers(pairs["work"])
    order = np.lexsort((number, row))
    works = Relation.from_pairs(row[order], number[order], len(ids.rows[type_key]))
    return works, report.keep(len(row), {reason for _, reason in unknown}, REPEATED_PAIR)


def with_known_codes(table: OwnTable, known: Mapping[str, list[str]]) -> OwnTable:
    """Gives names of categories the codes that works or users have for them. Other names get new codes."""
    for column, names in table.names.items():
        table = with_codes(table, column, [*dict.fromkeys([*known.get(column, ()), *names])])
    return table


def describe_works(name: str, table: ItemTable, works: Table) -> str | None:
    """Returns a note on the items without works. Raises DataError if no item has works."""
    n_items, n_without = len(table.items), int((np.diff(table.works_of(works).indptr) == 0).sum())
    if n_without == n_items:
        raise DataError(
            f"items.{name}: none of the {n_items:,} items has a work in items. Check that both files use the "
            "same ids."
        )
    if not n_without:
        return None
    return f"items.{name}: {n_without:,} of {n_items:,} items have no work in items, so no page has them"
