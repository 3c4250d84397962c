"""Why rows of a table are left out: conditions on its cells, and how many rows of each kind there are, and
where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karec.data.database import Database, database_errors
from karec.data.files import FILE_NUMBER, OFFSET, ROW, Source
from karec.data.report import SHOWN_LINES, Reason

Mistake = tuple[str, str]  # a condition in SQL, and what is wrong in words
WHY = "why"  # the column of a table that holds the place of a row's first mistake, NULL for a good row


def why_of(mistakes: Sequence[Mistake]) -> str:
    """SQL: the place of the first of ``mistakes`` that holds, NULL where none does."""
    cases = " ".join(f"WHEN {condition} THEN {at}" for at, (condition, _) in enumerate(mistakes))
    return f"(CASE {cases} END)::UTINYINT" if cases else "NULL::UTINYINT"


def reasons(database: Database, source: Source, table: str, mistakes: Sequence[Mistake]) -> dict[str, Reason]:
    """Of lines that could not be split into cells and rows of ``table`` that have a mistake, most frequent
    first.

    ``table`` was made from the whole of ``source`` and has the columns WHY, ROW and FILE_NUMBER.
    """
    found: dict[str, tuple[int, list[tuple[int, int]]]] = {}
    firsts = f"count(*), min({FILE_NUMBER}::BIGINT * {OFFSET} + {ROW}, {SHOWN_LINES})"
    for at, count, rows in database.rows(
        f"SELECT {WHY}, {firsts} FROM {table} WHERE {WHY} IS NOT NULL GROUP BY {WHY} ORDER BY 1"
    ):
        found[mistakes[at][1]] = count, [divmod(row, OFFSET) for row in rows]
    with database_errors(source.files[0]):
        if source.wrong:
            for why, count, rows in database.rows(
                f"SELECT {WHY}, {firsts} FROM {source.wrong} GROUP BY {WHY}"
            ):
                found[why] = count, [divmod(row, OFFSET) for row in rows]
        broken = source.broken(database)
    places = source.places([row for _, rows in found.values() for row in rows], broken)
    every = {why: Reason(count, tuple(places[row] for row in rows)) for why, (count, rows) in found.items()}
    for why in dict.fromkeys(why for _, _, why in broken):
        lines = [f"{source.files[number].name}:{line}" for number, line, each in broken if each == why]
        every[why] = Reason(len(lines), tuple(lines[:SHOWN_LINES]))
    return dict(sorted(every.items(), key=lambda each: (-each[1].count, each[0])))


def nothing_kept(what: str, source: Source, bad: Mapping[str, Reason]) -> str:
    told_of = (
        "; ".join(f"{why}: {reason}" for why, reason in bad.items())
        or "the files hold no row below the header"
    )
    return f"{source.files[0]}: nothing of {what} can be kept: {told_of}"
