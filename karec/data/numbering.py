"""Ids of any kind → the engine's numbers: the maps are built here, and applied where the rows lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, SONG
from karec.data.checks import check_mistakes, id_column
from karec.data.contract import Contract, Pairs
from karec.data.database import Database, database_errors
from karec.data.files import FILE_NUMBER, OFFSET, ROW, Source
from karec.data.kinds import column_of
from karec.data.reasons import WHY, Mistake, nothing_kept, reasons, why_of
from karec.data.report import SHOWN_LINES, Reason, TableReport
from karec.data.tables import OwnTable
from karec.errors import DataError
from karec.index import IdMap

UNKNOWN_ITEM = "the item is not in items"
REPEATED_PAIR = "the same pair as another row"
FRIENDS = "friends"  # the relation whose other ones are users


class Numbering:
    """``maps`` by table, and of each the numbers of its rows, in the order of the table: those of its file,
    then those that only the log names, ascending; ``ids`` are what they stand for (Arrow). ``unknown_items``:
    how many items of the log its table does not have.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.maps: dict[str, IdMap] = {}
        self.rows: dict[str, NDArray[Any]] = {}
        self.unknown_items = 0
        self.ids: dict[str, Any] = {}

    def of_role(self, role: str, names: Any) -> NDArray[Any]:
        """Numbers of creators, or of songs, that are texts (Arrow); a creator who is a user has that user's
        number."""
        what = {CREATOR: "creators", SONG: "songs"}[role]
        self.maps[what] = IdMap.build(names, self.folder / f"{what}.karec")
        return self.maps[what].numbers(names)

    def number_events(
        self, source: Source, items: OwnTable | None, users: OwnTable | None, strict: bool = False
    ) -> dict[str, Reason]:
        """``cleaned`` becomes a table with numbers for u and i, without items that ``items`` lacks. What was
        left out.

        Builds the maps of items and of users. ``strict``: DataError where a row names an id that its table
        lacks.
        """
        database = self.database
        for what, table, cell in (("items", items, "i"), ("users", users, "u")):
            if strict and table is not None:
                self._all_known(source, what, table, cell)
        before, left_out = database.count("cleaned"), 0
        there = "SELECT DISTINCT i AS id FROM cleaned ORDER BY 1"
        item_ids = database.arrow(there)["id"] if items is None else items.ids
        self._build("items", item_ids)
        with database.table("item_ids", {"id": item_ids, "number": self.rows["items"]}):
            known = "" if items is None else " SEMI JOIN item_ids ON i = id"
            if known:
                left_out = before - database.count(f"cleaned{known}")
            if left_out == before:
                raise DataError(
                    f"{source.files[0]}: none of {before:,} events names an item of items: are ids alike?"
                )
            unknown = self._unknown_items(source, left_out)
            user_ids = self._user_ids(known if left_out else "", users)
            self._build("users", user_ids)
            with database.table("user_ids", {"id": user_ids, "number": self.rows["users"]}):
                self._replace_ids(item_ids, user_ids, bool(left_out))
        return unknown

    def _unknown_items(self, source: Source, left_out: int) -> dict[str, Reason]:
        """Why ``left_out`` rows are left out, of items that the table item_ids lacks."""
        if not left_out:
            return {}
        firsts = f"min({FILE_NUMBER}::BIGINT * {OFFSET} + {ROW}, {SHOWN_LINES})"
        self.unknown_items, found = self.database.rows(
            f"SELECT count(DISTINCT i), {firsts} FROM read ANTI JOIN item_ids ON i = id WHERE {WHY} IS NULL"
        )[0]
        rows = [divmod(row, OFFSET) for row in found]
        places = source.places(rows, source.broken(self.database))
        return {UNKNOWN_ITEM: Reason(left_out, tuple(places[row] for row in rows))}

    def _all_known(self, source: Source, what: str, table: OwnTable, cell: str) -> None:
        first = f"min({FILE_NUMBER}::BIGINT * {OFFSET} + {ROW}, 1), count(*)"
        with self.database.table("of_table", {"id": table.ids}):
            places, count = self.database.rows(
                f"SELECT {first} FROM read ANTI JOIN of_table ON {cell} = id WHERE {WHY} IS NULL"
            )[0]
        if count:
            row = divmod(places[0], OFFSET)
            place = source.places([row], source.broken(self.database))[row]
            raise DataError(
                f"{place}: the {what[:-1]} is not in {what}, in {count:,} rows: a strict data.toml has all "
                f"in its table"
            )

    def _user_ids(self, known: str, users: OwnTable | None) -> Any:
        import pyarrow

        there = f"SELECT DISTINCT u AS id FROM cleaned{known} ORDER BY 1"
        if users is None:
            return self.database.arrow(there)["id"]
        with self.database.table("of_table", {"id": users.ids}):
            more = self.database.arrow(f"SELECT * FROM ({there}) ANTI JOIN of_table USING (id) ORDER BY 1")
        return pyarrow.concat_arrays([users.ids, more["id"]])

    def _build(self, what: str, ids: Any) -> None:
        self.maps[what] = IdMap.build(ids, self.folder / f"{what}.karec")
        self.rows[what], self.ids[what] = self.maps[what].numbers(ids), ids

    def _replace_ids(self, item_ids: Any, user_ids: Any, some_unknown: bool) -> None:
        """Joins only where an id is not its own number, or where an item is unknown."""
        database = self.database
        cells = {name: name for name in database.columns("cleaned")}
        joins = ""
        if some_unknown or not _own_numbers(item_ids, self.rows["items"]):
            cells["i"] = "item_ids.number"
            joins += " JOIN item_ids ON cleaned.i = item_ids.id"
        if not _own_numbers(user_ids, self.rows["users"]):
            cells["u"] = "user_ids.number"
            joins += " JOIN user_ids ON cleaned.u = user_ids.id"
        if joins:
            listed = ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
            database.run(f"CREATE TEMP TABLE numbered AS SELECT {listed} FROM cleaned{joins}")
            database.run("DROP VIEW cleaned")
            database.run("DROP TABLE read")
            database.run("ALTER TABLE numbered RENAME TO cleaned")

    def relations(
        self, contract: Contract, sources: Mapping[str, Source], checked: Callable[[TableReport], None]
    ) -> dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """{relation: (user numbers, the other's numbers, moments or 0)}, sorted."""
        items = contract.items
        creator = None if items is None else items.roles.creator
        of_integers = (
            items is not None
            and creator is not None
            and creator not in items.values
            and id_column(self.database, sources["items"], creator, items.checks).kind == "integer"
        )
        return {
            name: self._pairs(
                name, sources[f"relation_{at}"], pairs, contract, checked, of_integers and name != FRIENDS
            )
            for at, (name, pairs) in enumerate(contract.relations.items())
        }

    def _pairs(
        self,
        name: str,
        source: Source,
        pairs: Pairs,
        contract: Contract,
        checked: Callable[[TableReport], None],
        of_integers: bool,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """``of_integers``: the relation is to creators, whose ids are integers."""
        database, columns, what = self.database, pairs.columns, f"relations.{name}"
        source.column(columns.to, f"{what}.columns.to")
        both = (columns.user, columns.to)
        of_user, of_other = (id_column(database, source, column, pairs.checks) for column in both)
        integers = self.maps["users"].kind == "integer"
        u = of_user.as_integer if integers else of_user.as_text
        o = (
            of_other.as_integer
            if of_other.kind == "integer" and (integers or of_integers)
            else of_other.as_text
        )
        moment = "0"
        if columns.time is not None:
            source.column(columns.time, f"relations.{name}.columns.time")
            moment = f"coalesce({column_of(database, source, columns.time).as_time.as_ms}, 0)"
        kind = "no integer" if integers else "missing"
        mistakes = [
            (f"({cell}) IS NULL", f"column {column!r}: the id is {kind}")
            for cell, column in ((u, columns.user), (o, columns.to))
        ]
        mistakes += check_mistakes(database, source, pairs.checks, what, ZoneInfo(contract.zone))
        # an unknown friend may be a creator, whose works are brought; a loop and an unknown user bind nobody
        odd = _strangers({columns.user: u, columns.to: o} if name == FRIENDS else {columns.user: u})
        unbound = [odd[0], *odd[2:]]
        if contract.strict:
            mistakes, unbound = mistakes + odd, []
        with database_errors(source.files[0]), database.table("known_users", {"id": self.ids["users"]}):
            database.run(
                f"CREATE TEMP TABLE pairs AS SELECT {u} AS u, {o} AS o, {moment} AS t, "
                f"{why_of(mistakes + unbound)} AS {WHY}, {ROW}, {FILE_NUMBER} FROM {source.name}"
            )
        found = reasons(database, source, "pairs", mistakes + unbound)
        left_out = {why: found.pop(why) for _, why in unbound if why in found}
        bad, good = found, database.count("pairs", f"{WHY} IS NULL")
        rows = good + sum(reason.count for each in (bad, left_out) for reason in each.values())
        kept = database.arrow(
            f"SELECT u, o, min(t) AS t FROM pairs WHERE {WHY} IS NULL GROUP BY u, o ORDER BY u, t, o"
        )
        database.run("DROP TABLE pairs")
        if not len(kept["u"]):
            raise DataError(nothing_kept(f"relation {name}", source, {**bad, **left_out}))
        again = good - len(kept["u"])
        left_out |= {REPEATED_PAIR: Reason(again)} if again else {}
        checked(TableReport(what, tuple(map(str, source.files)), rows, len(kept["u"]), bad, left_out))
        others = kept["o"]
        numbers = others.to_numpy() if str(others.type) == "int64" else self._others(others)
        return self.maps["users"].numbers(kept["u"]), numbers, kept["t"].to_numpy()

    def _others(self, names: Any) -> NDArray[Any]:
        """Of creators, or of users where nobody knows creators; both give one text one number."""
        known = self.maps.get("creators", self.maps["users"])
        return known.numbers(names)


def _strangers(cells: Mapping[str, str]) -> list[Mistake]:
    """Of ``cells``, {column: SQL}, that name no known user, or one user twice."""
    found = [
        (
            f"NOT (({cell})::VARCHAR IN (SELECT id::VARCHAR FROM known_users))",
            f"column {column!r}: no user of the log",
        )
        for column, cell in cells.items()
    ]
    if len(cells) == 2:
        same = " = ".join(f"({cell})::VARCHAR" for cell in cells.values())
        found.append((same, f"{' and '.join(cells)} are one user"))
    return found


def _own_numbers(ids: Any, numbers: NDArray[Any]) -> bool:
    return str(ids.type) == "int64" and np.array_equal(numbers, ids.to_numpy())
