"""Ids of any kind → the engine's numbers: the maps are built here, and applied where the rows lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from karec.data.own.contract import Contract
from karec.data.own.database import Database, told
from karec.data.own.events import nothing_kept, reasons
from karec.data.own.files import FILE_NUMBER, LINE, Source
from karec.data.own.kinds import column_of
from karec.data.own.report import TableReport
from karec.data.own.tables import OwnTable
from karec.errors import DataError
from karec.ids import IdMap
from karec.types import Array


class Numbering:
    """``maps`` by table, and of each the numbers of its rows, in the order of the table: those of its file, then those
    that only the log names, ascending.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.maps: dict[str, IdMap] = {}
        self.rows: dict[str, Array] = {}

    def creators(self, names: Any) -> Array:
        """Numbers of creators and songs that are texts (Arrow); a user's id has that user's number."""
        self.maps["creators"] = IdMap.build(names, self.folder / "creators.karec")
        return self.maps["creators"].numbers(names)

    def number(self, what: str, column: str, table: OwnTable | None) -> None:
        """Builds the map of ``what`` from the table and from ``column`` of shown, whose ids become numbers there."""
        database = self.database
        known = f"SELECT DISTINCT {column} AS id FROM shown ORDER BY 1"
        if table is None:
            ids = database.arrow(known)["id"].combine_chunks()
        else:
            import pyarrow

            with database.table("of_table", id=table.ids):
                more = database.arrow(f"SELECT * FROM ({known}) ANTI JOIN of_table USING (id) ORDER BY 1")
            ids = pyarrow.concat_arrays([table.ids, more["id"].combine_chunks()])
        self.maps[what] = IdMap.build(ids, self.folder / f"{what}.karec")
        self.rows[what] = self.maps[what].numbers(ids)
        if str(ids.type) == "int64" and np.array_equal(self.rows[what], ids.to_numpy()):
            return
        with database.table("numbered", **{column: ids, "number": self.rows[what]}):
            database.replace(
                "shown",
                f"SELECT shown.* EXCLUDE ({column}), number AS {column} FROM shown JOIN numbered USING ({column})",
            )

    def relations(
        self, contract: Contract, sources: Mapping[str, Source], checked: Callable[[TableReport], None]
    ) -> dict[str, tuple[Array, Array, Array]]:
        """{relation: (user numbers, the other's numbers, moments or 0)}, sorted."""
        found = {}
        for at, (name, pairs) in enumerate(contract.relations.items()):
            source = sources[f"relation_{at}"]
            found[name] = self._pairs(name, source, pairs.columns.user, pairs.columns.to, pairs.columns.time, checked)
        return found

    def _pairs(
        self, name: str, source: Source, user: str, to: str, time: str | None, checked: Callable[[TableReport], None]
    ) -> tuple[Array, Array, Array]:
        database = self.database
        source.column(to, f"relations.{name}.columns.to")
        of_user, of_other = (column_of(database, source, column) for column in (user, to))
        integers = self.maps["users"].kind == "integer"
        u = of_user.as_integer if integers else of_user.as_text
        o = of_other.as_integer if of_other.kind == "integer" and integers else of_other.as_text
        moment = "0"
        why = f"CASE WHEN ({u}) IS NULL THEN 'user is missing' WHEN ({o}) IS NULL THEN 'the other is missing' END"
        if time is not None:
            source.column(time, f"relations.{name}.columns.time")
            moment = f"coalesce({column_of(database, source, time).as_ms}, 0)"
        with told(source.files[0]):
            database.run(
                f"CREATE TABLE pairs AS SELECT {u} AS u, {o} AS o, {moment} AS t, {why} AS why, {LINE}, {FILE_NUMBER} "
                f"FROM {source.name}"
            )
            bad = reasons(database, source, "pairs")
            rows = database.count("pairs")
            kept = database.arrow(
                "SELECT u, o, min(t) AS t FROM pairs WHERE why IS NULL GROUP BY u, o ORDER BY u, t, o"
            )
            database.run("DROP TABLE pairs")
        if not kept.num_rows:
            raise DataError(nothing_kept(f"relation {name}", source, bad))
        checked(TableReport(f"relations.{name}", tuple(map(str, source.files)), rows, kept.num_rows, bad))
        others = kept["o"].combine_chunks()
        numbers = others.to_numpy() if str(others.type) == "int64" else self._others(others)
        return self.maps["users"].numbers(kept["u"].combine_chunks()), numbers, kept["t"].to_numpy()

    def _others(self, names: Any) -> Array:
        """Of creators, or of users where nobody knows creators; both give one text one number."""
        known = self.maps.get("creators", self.maps["users"])
        return known.numbers(names)
