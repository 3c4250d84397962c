"""Marks rows of erased ids, which are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.data.checks import ERASED
from karec.data.columns import find_column, find_id_column
from karec.data.contract import Contract
from karec.data.database import quote_name
from karec.data.events import find_time_column
from karec.data.files import Source
from karec.data.ids import FRIENDS
from karec.data.table_settings import ItemRows, TypedItems, Works
from karec.erasure import Tombstones

IdColumns = list[tuple[str, str | None]]


def mark_erased(
    sources: Mapping[str, Source], contract: Contract, tombstones: Sequence[Tombstones]
) -> dict[str, Source]:
    """Returns the sources with the mistake ERASED for rows of an erased id from before its erasure.

    The time of a row is that of the event or pair, or the publication of the item. A row without a time
    counts as old.
    Cost: with tombstones, a search for distinct ids in each column of ids.
    """
    marked = dict(sources)
    for name, columns, time in _columns(contract, sources):
        source = sources[name]
        ids = [(kind, column) for kind, column in columns if column in source.types]
        if erased := " OR ".join(filter(None, (_condition(source, *each, time, tombstones) for each in ids))):
            marked[name] = replace(source, mistakes=(*source.mistakes, (erased, ERASED)))
    return marked


def _columns(contract: Contract, sources: Mapping[str, Source]) -> Iterator[tuple[str, IdColumns, str]]:
    """Yields each table with columns of ids: its name, these columns, and SQL of the time in ms."""
    events, items, users = contract.events.columns, contract.items, contract.users
    time = "0" if events.time is None else find_time_column(sources["events"], contract).as_ms
    yield "events", [("user", events.user), ("item", events.item)], time
    if users is not None:
        yield "users", [("user", users.id)], "0"
    if contract.past is not None and "past" in sources:
        yield "past", [("user", contract.past.user)], "0"
    for key, rows in contract.rows.items():
        if isinstance(rows, ItemRows):
            roles = {role: column for column, role in rows.roles.snapshot_names.items()}
            kind = key.removeprefix("items.") if isinstance(rows, TypedItems) else "item"
            ids: IdColumns = [(kind, rows.id)]
            yield key, [*ids, ("creator", roles.get(CREATOR))], _time_sql(sources[key], roles.get(PUBLISHED))
            if isinstance(rows, TypedItems) and isinstance(rows.works, Works):
                yield f"{key}.works", [("item", rows.works.work), (kind, rows.works.item)], "0"
    for name, values in ({} if items is None else items.values).items():
        yield f"values.{name}", [("item", values.columns.item), ("user", values.columns.user)], "0"
    for name, pairs in contract.relations.items():
        to = "user" if name == FRIENDS else "creator"
        source = f"relations.{name}"
        time = _time_sql(sources[source], pairs.columns.time)
        yield source, [("user", pairs.columns.user), (to, pairs.columns.to)], time


def _time_sql(source: Source, column: str | None) -> str:
    return find_column(source, column, "time").as_time.as_ms if column in source.types else "0"


def _condition(source: Source, kind: str, name: str, time: str, tombstones: Sequence[Tombstones]) -> str:
    """Returns SQL that is true for rows with an erased id in the column; "" if there is none."""
    database, cell = source.database, f"({find_id_column(source, name, kind).as_id})::VARCHAR"
    ids = [
        text for (text,) in database.rows(f"SELECT DISTINCT {cell} FROM {source.name}") if text is not None
    ]
    times = zip(*(one.erased_ms(kind, ids) for one in tombstones), strict=True)
    erased = {id_: ms for id_, ms in zip(ids, map(max, times), strict=True) if ms}
    if not erased:
        return ""
    table = quote_name(f"erased_{source.name}_{name}")
    with database.table("erased", {"id": [*erased], "ms": [*erased.values()]}):
        database.run(f"CREATE TEMP TABLE {table} AS SELECT * FROM erased")
    return f"coalesce({time}, 0) < coalesce((SELECT ms FROM {table} WHERE id = {cell}), 0)"
