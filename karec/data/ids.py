"""Maps ids of users, items, creators and songs to numbers, in the log and in relations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, SONG
from karec.data.checks import FIRST_ROWS, REASON, check_mistakes, check_rows
from karec.data.columns import find_column, find_id_column
from karec.data.contract import Contract
from karec.data.database import Database
from karec.data.events import EVENTS, KEPT_EVENTS
from karec.data.files import Mistake, Source
from karec.data.impressions import NUMBERED
from karec.data.report import Reason, TableReport
from karec.data.table_settings import Pairs
from karec.data.tables import OwnTable
from karec.errors import DataError
from karec.index import IdMap

UNKNOWN_ITEM = "the item is not in items"
REPEATED_PAIR = "the same pair as another row"
ROLE_TABLES = {CREATOR: "creators", SONG: "songs"}
FRIENDS = "friends"  # the relation to users; others are to creators
PairArrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(eq=False)
class IdNumbers:
    """Maps of ids, written into ``folder``.

    maps            by table: items, users, items.TYPE and, if they are texts, creators and songs
    ids             of items and users (pyarrow.Array): those of the file, then others of the log, ascending
    rows            their numbers
    unknown_items   number of items of the log that are not in the items table
    integer_roles   roles of works whose ids are integers
    """

    folder: Path
    maps: dict[str, IdMap] = field(default_factory=dict)
    ids: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, NDArray[Any]] = field(default_factory=dict)
    unknown_items: int = 0
    integer_roles: set[str] = field(default_factory=set)

    def number_role(self, role: str, ids: Any) -> NDArray[Any]:
        """Returns the numbers of creators or songs (pyarrow.Array). An integer is its own number.

        A creator who is a user has the number of the user.
        """
        if str(ids.type) == "int64":
            self.integer_roles.add(role)
            return np.asarray(ids)
        table = ROLE_TABLES[role]
        self.maps[table] = IdMap.build(ids, self.folder / f"{table}.karec")
        return self.maps[table].numbers(ids)

    def number_role_of_type(self, role: str, ids: Any) -> NDArray[Any]:
        """Returns the numbers of creators or songs of another item type: the same numbers as for works.

        Raises DataError for texts if those of works are integers.
        """
        if ROLE_TABLES[role] in self.maps:
            return self.maps[ROLE_TABLES[role]].numbers(ids.cast("string"))
        if role in self.integer_roles and str(ids.type) != "int64":
            raise DataError(f"{role} holds texts such as {ids[0].as_py()!r}, expected integers as in items")
        return self.number_role(role, ids)

    def number_events(
        self, source: Source, items: OwnTable | None, users: OwnTable | None, is_strict: bool
    ) -> dict[str, Reason]:
        """Creates NUMBERED from EVENTS, without unknown items. Returns the rows that are left out.

        Drops EVENTS. With ``is_strict``, raises DataError if a row has an id that its table lacks.
        """
        import pyarrow

        database, left_out = source.database, {}
        if items is not None and (unknown := self._unknown_rows(source, "item", items, is_strict)):
            left_out[UNKNOWN_ITEM] = unknown
        self.build("items", _new_ids(database, "i") if items is None else items.ids)
        if users is None:
            user_ids = _new_ids(database, "u")
        else:
            if is_strict:
                self._unknown_rows(source, "user", users, is_strict)
            with database.table("known", {"id": users.ids}):
                new_ids = _new_ids(database, "u", "ANTI JOIN known ON u = id")
            user_ids = pyarrow.concat_arrays([users.ids, new_ids])
        self.build("users", user_ids)
        tables = {name: {"id": self.ids[name], "number": self.rows[name]} for name in ("users", "items")}
        with database.table("users", tables["users"]), database.table("items", tables["items"]):
            database.run(
                f"CREATE TEMP TABLE {NUMBERED} AS SELECT e.* REPLACE (users.number AS u, items.number AS i) "
                f"FROM ({KEPT_EVENTS}) AS e JOIN users ON u = users.id JOIN items ON i = items.id"
            )
        database.run(f"DROP TABLE {EVENTS}")
        return left_out

    def _unknown_rows(self, source: Source, noun: str, table: OwnTable, is_strict: bool) -> Reason | None:
        """Returns the good events with an id that ``table`` lacks. Removes them if the id is an item."""
        database, column = source.database, noun[0]
        with database.table("known", {"id": table.ids}):
            unknown = f"FROM {EVENTS} ANTI JOIN known ON {column} = id WHERE {REASON} IS NULL"
            count, rows, n_ids = database.rows(f"SELECT {FIRST_ROWS}, count(DISTINCT {column}) {unknown}")[0]
            if not count:
                return None
            places = source.places(rows)
            reason = Reason(count, tuple(places[row] for row in rows))
            if is_strict:
                raise DataError(
                    f"{reason.places[0]}: the {noun} is not in {noun}s, in {count:,} rows: data.toml is "
                    "strict, so its table must have all of them"
                )
            if noun == "item":
                if count == database.count(EVENTS, f"{REASON} IS NULL"):
                    raise DataError(
                        f"{source.files[0]}: none of the {count:,} events refers to an item of the items "
                        "table. Check that both files use the same ids."
                    )
                database.run(f"DELETE FROM {EVENTS} WHERE {column} NOT IN (SELECT id FROM known)")
                self.unknown_items = n_ids
        return reason

    def build(self, table: str, ids: Any) -> None:
        """Adds the map of the ids of a table: items, users or items.TYPE."""
        self.maps[table] = IdMap.build(ids, self.folder / f"{table}.karec")
        self.ids[table] = ids
        self.rows[table] = self.maps[table].numbers(ids)

    def read_relation(
        self, name: str, source: Source, pairs: Pairs, contract: Contract
    ) -> tuple[PairArrays, TableReport]:
        """Returns numbers of users, numbers of the others, and times or 0, sorted; and the report."""
        key, has_integers = f"relations.{name}", self.maps["users"].kind == "integer"
        columns = {
            role: (find_column if role == "time" else find_id_column)(source, column, f"{key}.columns.{role}")
            for role, column in pairs.columns.named.items()
        }
        user, other = columns["user"], columns["to"]
        can_be_integer = has_integers or (name != FRIENDS and self._has_integer_creators(contract))
        is_integer_other = can_be_integer and other.kind == "integer"
        time = f"coalesce({columns['time'].as_time.as_ms}, 0)" if "time" in columns else "0"
        cells = {
            "u": user.as_integer if has_integers else user.as_text,
            "o": other.as_integer if is_integer_other else other.as_text,
            "t": time,
        }
        problem = "not an integer" if has_integers else "missing"
        mistakes = [
            ("__u IS NULL", f"column {user.name!r}: the id is {problem}"),
            ("__o IS NULL", f"column {other.name!r}: the id is {problem}"),
            *check_mistakes(source, contract, key),
        ]
        unrelated = _unrelated(user.name, other.name, is_friends=name == FRIENDS, is_strict=contract.strict)
        with source.database.table("known", {"id": self.ids["users"]}):
            rows = check_rows(source, "pairs", cells, mistakes + unrelated)
        report = rows.report(key)
        unused_reasons = {reason for _, reason in unrelated} if not contract.strict else set()
        arrays = source.database.arrow(
            f"SELECT u, o, min(t) AS t FROM pairs WHERE {REASON} IS NULL GROUP BY u, o ORDER BY u, t, o"
        )
        rows.drop()
        report = report.keep(len(arrays["u"]), unused_reasons, REPEATED_PAIR)
        id_map = self.maps.get("creators", self.maps["users"])  # both give a text the same number
        others = arrays["o"].to_numpy() if is_integer_other else id_map.numbers(arrays["o"])
        return (self.maps["users"].numbers(arrays["u"]), others, arrays["t"].to_numpy()), report

    def _has_integer_creators(self, contract: Contract) -> bool:
        items = contract.items
        creator = None if items is None else items.roles.creator
        is_column = items is not None and creator not in (None, *items.values)
        return is_column and "creators" not in self.maps


def _unrelated(user: str, other: str, *, is_friends: bool, is_strict: bool) -> list[Mistake]:
    """Returns the mistakes of pairs of unknown users and of a user with themselves.

    An unknown friend can be a creator, whose items are recommended; only a strict data.toml rejects them.
    """
    unknown = "__{0}::VARCHAR NOT IN (SELECT id::VARCHAR FROM known)"
    mistakes = [(unknown.format("u"), f"column {user!r}: no user of the log")]
    if is_friends and is_strict:
        mistakes.append((unknown.format("o"), f"column {other!r}: no user of the log"))
    if is_friends:
        mistakes.append(("__u::VARCHAR = __o::VARCHAR", f"{user} and {other} are one user"))
    return mistakes


def _new_ids(database: Database, column: str, join: str = "") -> Any:
    """Returns the ids of good events, ascending (pyarrow.Array)."""
    return database.arrow(f"SELECT DISTINCT {column} AS id FROM ({KEPT_EVENTS}) {join} ORDER BY 1")["id"]
