"""Versions of a screened library: the table of items of a data.toml, and the events from one to the next.

    OUT/library/2026-11-04.parquet   the uploads of the kept works, with their ``day`` and ``quality``
    OUT/library/2026-11-04.jsonl     rows for karec ingest that change the version before into this one
    OUT/library/current.parquet      link to the version of the last run

The version before is that of the run before; its day may be a later one. A work that is no longer kept is
deleted, not blocked: it can come back, and a moderator's block stays. If a day is screened again, its events
also delete the works that its former events uploaded. Event ids depend on the two days, the work and its
former event only, so rows that are stored twice count once.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from karec.data.database import Database, open_database, quote_name, quote_text, scan_sql
from karec.errors import DataError
from karec.files import file_aside, link_aside
from karec.screening.library import ColumnType, Day, day_folders, read_day
from karec.screening.rules import rejection_reasons
from karec.screening.screen import KEPT
from karec.screening.selection import KEPT_DAY, KEPT_ID, KEPT_QUALITY
from karec.screening.settings import ScreeningSettings

EVENT_TYPES = ("integer", "number", "boolean", "text")  # of the columns that an upload can have


def write_library_version(
    settings: ScreeningSettings, out: Path, last: date, *, has_live_uploads: bool = False
) -> tuple[Path, Path | None]:
    """Writes the version of the kept works in ``out``, for the window that ends with ``last``.

    Returns its table, and the file of its events, None for the first version. Keeps the version before and
    removes others.

    Args:
        has_live_uploads: a service also took the uploads of each day as events. Those of the days since the
            version before that satisfy the rules and are not kept are deleted too.

    Raises DataError if uploads have no creators. Cost: reads the uploads of all days with kept works.
    """
    folders, folder = day_folders(settings.folder / settings.uploads), out / "library"
    folder.mkdir(exist_ok=True)
    table, events = folder / f"{last}.parquet", None
    current = folder / "current.parquet"
    others = sorted(
        (path for path in folder.glob("[0-9]*.parquet") if path != table),
        key=lambda path: (current.exists() and path.samefile(current), path.stem),
    )
    with open_database(out, extra="screen") as database:
        kept = scan_sql([str(out / KEPT)])
        rows = database.rows(f"SELECT DISTINCT {KEPT_DAY} FROM {kept} ORDER BY 1")
        days = [read_day(day, folders[day]) for (day,) in rows]
        _export(database, _works_sql(settings, days, kept), table, "FORMAT parquet, COMPRESSION zstd")
        if others:
            before, events = others[-1], table.with_suffix(".jsonl")
            since = date.fromisoformat(before.stem)
            live = [
                read_day(day, folders[day])
                for day in sorted(folders)
                if has_live_uploads and since < day <= last
            ]
            is_again = events.exists() and current.exists() and current.samefile(table)
            former_events = _read_events_sql(events, days[-1].column_types[settings.columns.work], is_again)
            query = _events_sql(settings, days[-1], live, table, before, former_events)
            _export(database, query, events, "FORMAT json")
    for path in others[:-1]:
        path.unlink()
        path.with_suffix(".jsonl").unlink(missing_ok=True)
    link_aside(current, table.name)
    return table, events


def _works_sql(settings: ScreeningSettings, days: list[Day], kept: str) -> str:
    """Returns SQL of the uploads of the kept works. The first row of an id and day counts."""
    work, creator = quote_name(settings.columns.work), settings.columns.creator
    for day in days:
        if creator not in day.column_types:
            path = day.paths[0]
            raise DataError(f"{path}: no column {creator!r}. Name it in columns.creator of screen.toml.")
    shards = ", ".join(quote_text(path) for day in days for path in day.paths)
    uploads = (
        f"read_parquet([{shards}], union_by_name = true, hive_partitioning = true, filename = true, "
        "file_row_number = true)"
    )
    row = "u.filename, u.file_row_number"
    own_quality = f", {KEPT_QUALITY}" if any(KEPT_QUALITY in day.column_types for day in days) else ""
    return (
        f"SELECT u.* EXCLUDE (filename, file_row_number{own_quality}), k.{KEPT_QUALITY} FROM {uploads} AS u "
        f"JOIN {kept} AS k ON u.day = k.{KEPT_DAY} AND u.{work} = k.{KEPT_ID} "
        f"QUALIFY row_number() OVER (PARTITION BY k.{KEPT_DAY}, k.{KEPT_ID} ORDER BY {row}) = 1 "
        f"ORDER BY u.day DESC, {row}"
    )


def _read_events_sql(events: Path, work_type: ColumnType, is_again: bool) -> str:
    """Returns SQL of the events that a former run wrote for the version, of no rows if there are none."""
    if not is_again:
        return "(SELECT '' AS former_event, uuid() AS former_id, 0 AS former_item WHERE false)"
    id_type = "HUGEINT" if work_type == "integer" else "VARCHAR"
    columns = f"{{event: 'VARCHAR', event_id: 'UUID', item_id: '{id_type}'}}"
    return (
        "(SELECT event AS former_event, event_id AS former_id, item_id AS former_item "
        f"FROM read_json({quote_text(events)}, columns = {columns}, format = 'newline_delimited'))"
    )


def _events_sql(
    settings: ScreeningSettings, day: Day, live: list[Day], table: Path, before: Path, former_events: str
) -> str:
    """Returns SQL of the events from ``before``, and from ``former_events``, to ``table``.

    ``live``: days of uploads that may be live.
    """
    work, creator = quote_name(settings.columns.work), quote_name(settings.columns.creator)
    names = [name for name, column_type in day.column_types.items() if column_type in EVENT_TYPES]
    number = "nullif({0}, 'nan')"  # JSON has no NaN
    columns = ", ".join(
        f"{quote_name(name)} := "
        + (number if day.column_types.get(name) == "number" else "{0}").format(quote_name(name))
        for name in dict.fromkeys((*names, KEPT_QUALITY))
        if name not in (settings.columns.work, settings.columns.creator)
    )

    def rows(event: str, rest: str, works: str, other: Path, condition: str = "false") -> str:
        """Returns SQL of the events of the ``works`` that ``other`` lacks, or that satisfy ``condition``."""
        seed = f"'{before.stem} {table.stem} {event} ' || {work} || coalesce(former_id::VARCHAR, '')"
        event_id = f"CASE former_event WHEN '{event}' THEN former_id ELSE md5({seed})::UUID END"
        return (
            f"SELECT '{event}' AS event, {event_id} AS event_id, {work} AS item_id, {rest} "
            f"FROM {works} AS works LEFT JOIN {former_events} AS former_events ON former_item = {work} "
            f"WHERE {work} NOT IN (SELECT {work} FROM {scan_sql([str(other)])}) OR {condition}"
        )

    former = [f"SELECT {work} FROM {scan_sql([str(before)])}", f"SELECT former_item FROM {former_events}"] + [
        f"SELECT {work} FROM {scan_sql(live_day.paths)} "
        f"WHERE {rejection_reasons(settings, live_day.column_types, {}).sql} = 0"
        for live_day in live
    ]
    uploads = rows(
        "upload",
        f"{creator} AS creator_id, struct_pack({columns}) AS columns",
        scan_sql([str(table)]),
        before,
        "former_event IS NOT NULL",
    )
    deletions = rows("delete", "NULL AS creator_id, NULL AS columns", f"({' UNION '.join(former)})", table)
    return f"{uploads} UNION ALL {deletions} ORDER BY event DESC, item_id"


def _export(database: Database, query: str, path: Path, options: str) -> None:
    with file_aside(path) as file:
        database.run(f"COPY ({query}) TO {quote_text(file.name)} ({options}, USE_TMP_FILE false)")
