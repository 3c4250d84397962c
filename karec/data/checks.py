"""Checks of a data.toml in SQL: conditions on cells that make a row one that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from karec.data.cells import Check, declared
from karec.data.database import Database, quote_text
from karec.data.files import Source
from karec.data.kinds import Column, Kind, column_of, kind_of_type
from karec.data.reasons import Mistake

_KINDS: dict[str, Kind] = {"integer": "integer", "whole": "number", "number": "number", "text": "text"}
_NAMED = {"integer": "no integer", "whole": "no whole number", "number": "no number", "time": "no time"}
_EXACT = 2**53  # below it, every whole number is one of float64


def said_column(database: Database, source: Source, name: str, checks: Sequence[Check]) -> Column:
    """The column ``name``: what a check says that it holds, else what its first rows say."""
    check = declared(checks).get(name)
    kind = None if check is None else _KINDS.get(check.holds)
    if kind is None or kind_of_type(source.types[name]) is not None:
        return column_of(database, source, name)
    return Column(name, kind, False)


def id_column(database: Database, source: Source, name: str, checks: Sequence[Check] = ()) -> Column:
    """``said_column`` of ids: they come back as they went in, so that what the file says is a text stays
    one."""
    column = said_column(database, source, name, checks)
    stays = name in source.texts and name not in declared(checks)
    return replace(column, kind="text", unit="") if stays else column


def check_mistakes(
    database: Database,
    source: Source,
    checks: Sequence[Check],
    what: str,
    zone: ZoneInfo,
    time_unit: str = "",
) -> list[Mistake]:
    """DataError: a check of the table ``what`` names a column that the files lack. ``time_unit`` of moments
    that are numbers.
    """
    found = []
    for check in checks:
        for name in check.columns:
            source.column(name, f"{what}.checks")
            column = said_column(database, source, name, checks)
            if check.holds == "time" and time_unit:
                column = replace(column, unit=time_unit)
            found += _of(check, column, zone)
    return found


def moment_ms(moment: date, zone: ZoneInfo) -> int:
    """Unix milliseconds; of a day its start, and of a moment without a zone, in ``zone``."""
    whole = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    return round((whole if whole.tzinfo is not None else whole.replace(tzinfo=zone)).timestamp() * 1000)


def _of(check: Check, column: Column, zone: ZoneInfo) -> list[Mistake]:
    named, cell = f"column {column.name!r}", column.cell
    found = [(f"{cell} IS NULL", f"{named}: the cell is missing")] if check.required else []
    if check.holds == "text":
        value = column.as_text
        found.append((f"regexp_matches({value}, '[\\x00-\\x1f\\x7f]')", f"{named}: a control character"))
        if check.matches is not None:
            form = f"NOT regexp_full_match({value}, {quote_text(check.matches)})"
            found.append((form, f"{named}: not of the form {check.matches}"))
        return found
    value = {"integer": column.as_integer, "time": column.as_time.as_ms}.get(check.holds, column.as_number)
    wrong = f"{cell} IS NOT NULL AND {value} IS NULL"
    if check.holds == "whole":
        wrong = (
            f"{cell} IS NOT NULL AND coalesce({value} <> floor({value}) OR abs({value}) >= {_EXACT}, true)"
        )
    found.append((wrong, f"{named}: {_NAMED[check.holds]}"))
    if check.within is not None:
        least, most = (moment_ms(each, zone) if isinstance(each, date) else each for each in check.within)
        told = f"{named}: not within {check.within[0]} … {check.within[1]}"
        found.append((f"{value} NOT BETWEEN {least!r} AND {most!r}", told))
    return found
