"""Loads the data of a data.toml: a dataset, maps of its ids, and a report of the rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from karec.catalog.dataset import Dataset
from karec.catalog.relation import Relation
from karec.data.checks import IdType
from karec.data.columns import find_id_column
from karec.data.contract import Contract, has_file, preset_contract, read_contract
from karec.data.database import Database, open_database
from karec.data.dataset import ReadTables, make_dataset
from karec.data.erased import mark_erased
from karec.data.events import find_log_files, read_events
from karec.data.files import Source, find_files, open_source
from karec.data.ids import IdNumbers
from karec.data.impressions import PAST, ReadImpressions, create_shown, read_impressions
from karec.data.item_types import read_item_type
from karec.data.log_settings import Past
from karec.data.past import PastLists, lists_from_log, read_lists
from karec.data.report import DataReport, Reason, TableReport
from karec.data.table_settings import Files, Works
from karec.data.tables import OwnTable, read_table
from karec.data.values import add_values
from karec.erasure import Tombstones
from karec.errors import DataError
from karec.index import IdMap
from karec.times import Progress

N_STEPS = 6
REPEATED = "one user, item and moment with another row"


@dataclass(frozen=True, eq=False)
class OwnData:
    """``ids``: maps of the ids of ``IdNumbers``, in the caller's folder."""

    dataset: Dataset
    ids: Mapping[str, IdMap]
    report: DataReport


def load(
    folder: Path,
    ids_folder: Path,
    progress: Progress | None = None,
    *,
    skip_bad: bool = False,
    now_ms: int | None = None,
    preset: str | None = None,
    tombstones: Sequence[Tombstones] = (),
) -> OwnData:
    """Loads the data of ``folder/data.toml``. The order of rows and files does not change the result.

    Args:
        ids_folder: An existing folder for the maps of ids.
        skip_bad: Leave out rows that cannot be used. Else the first of them is an error.
        now_ms: Events later than a day after it cannot be used. None: the current time.
        preset: The preset to use in place of data.toml.
        tombstones: Those of each folder. Leave out rows of their ids from before the erasure.
    Raises:
        ConfigError: data.toml is wrong.
        DataError: A file is wrong; the message has file, line, column and advice.
    """
    contract = read_contract(Path(folder)) if preset is None else preset_contract(preset, Path(folder))
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    reader = _Reader(contract, IdNumbers(ids_folder), progress, skip_bad, tombstones)
    try:
        with open_database(zone=contract.zone) as database:
            read, parts, lists = reader.read(database, now_ms)
        dataset, report = make_dataset(read, parts, lists)
    except DataError as error:
        notes = [note for table in reader.reports if table.unusable for note in table.left_out_notes()]
        raise DataError("; ".join((str(error), *(notes if skip_bad else ())))) from error
    reader.say(N_STEPS, "done")
    report = replace(
        report,
        tables=tuple(reader.reports),
        notes=(*dataset.notes, *reader.notes),
        unknown_items=reader.ids.unknown_items,
    )
    notes = [*report.notes, *(note for table in reader.reports for note in table.notes())]
    columns = {table.name: {column.name: column.use for column in table.columns} for table in reader.reports}
    return OwnData(replace(dataset, notes=tuple(notes), columns=columns), reader.ids.maps, report)


@dataclass(eq=False)
class _Reader:
    """Reads the tables of a contract. ``reports`` and ``notes`` are those so far, events first."""

    contract: Contract
    ids: IdNumbers
    progress: Progress | None
    skip_bad: bool
    tombstones: Sequence[Tombstones] = ()
    reports: list[TableReport] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def read(self, database: Database, now_ms: int) -> tuple[ReadImpressions, ReadTables, PastLists | None]:
        contract = self.contract
        self.say(0, "reading headers")
        sources = self._open_sources(database)
        if any(self.tombstones):
            sources = mark_erased(sources, contract, self.tombstones)
        events = sources["events"]
        users, items = self._id_types(sources)
        self.say(1, "events")
        self._add(read_events(events, contract, users, items, now_ms))
        self.say(2, "items and users")
        tables = self._read_tables(sources, users, items)
        self.say(3, "ids")
        left_out = self.ids.number_events(events, tables.get("items"), tables.get("users"), contract.strict)
        left_out |= create_shown(database, events, contract)
        self.say(4, "relations")
        relations = {}
        for name, pairs in contract.relations.items():
            source = sources[f"relations.{name}"]
            relations[name], report = self.ids.read_relation(name, source, pairs, contract)
            self._add(report)
        type_works: dict[str, Relation] = {}
        for name in contract.item_types:
            table, works, reports = read_item_type(name, sources, contract, self.ids, items)
            for report in reports:
                self._add(report)
            tables[f"items.{name}"] = table
            type_works |= {} if works is None else {name: works}
        self.say(5, "impressions")
        read = read_impressions(database, contract)
        repeats = {
            REPEATED: read.n_repeated - read.n_differing,
            f"{REPEATED}, of other values": read.n_differing,
        }
        left_out |= {reason: Reason(count) for reason, count in repeats.items() if count}
        n_kept = self.reports[0].kept - sum(reason.count for reason in left_out.values())
        left_out = {**self.reports[0].left_out, **left_out}
        self.reports[0] = replace(self.reports[0], kept=n_kept, left_out=left_out)
        parts = ReadTables(contract, tables, relations, self.ids, type_works)
        return read, parts, None if contract.past is None else self._read_past(contract.past, parts, sources)

    def say(self, done: int, step: str) -> None:
        if self.progress is not None:
            self.progress(done, N_STEPS, step)

    def _open_sources(self, database: Database) -> dict[str, Source]:
        """Opens the files of all tables, by the table's key in data.toml."""
        contract = self.contract
        tables: dict[str, Files | None] = {"events": contract.events, **contract.rows}
        tables |= {f"relations.{name}": pairs for name, pairs in contract.relations.items()}
        for name, values in ({} if contract.items is None else contract.items.values).items():
            tables |= {f"values.{name}": values, f"names.{name}": values.names}
        for name, typed in contract.item_types.items():
            if isinstance(typed.works, Works):
                tables[f"items.{name}.works"] = typed.works
        earlier_files: tuple[Path, ...] = ()
        if contract.past is not None and has_file(contract.folder / contract.past.path):
            tables["past"] = Files(path=contract.past.path)
        elif contract.past is not None and contract.past.log is not None:
            log = contract.folder / contract.past.log
            earlier_files = find_files(log) if has_file(log) else ()
        log_files = tuple(file for file, _ in find_log_files(contract)) + earlier_files
        sources = {}
        for at, (name, table) in enumerate(tables.items()):
            if table is not None:
                files = find_files(contract.folder / table.path) if name != "events" else log_files
                sources[name] = open_source(database, f"source_{at}", table, files, is_strict=contract.strict)
        return sources

    def _id_types(self, sources: Mapping[str, Source]) -> tuple[IdType, IdType]:
        """Returns the types of users and items."""
        contract, columns = self.contract, self.contract.events.columns
        users = [("events", columns.user, "events.columns.user")]
        items = [("events", columns.item, "events.columns.item")]
        if contract.users is not None:
            users.append(("users", contract.users.id, "users.id"))
        if contract.items is not None:
            items.append(("items", contract.items.id, "items.id"))
        for name, typed in contract.item_types.items():
            if isinstance(typed.works, Works):
                items.append((f"items.{name}.works", typed.works.work, f"items.{name}.works.work"))
        for name, pairs in contract.relations.items():
            users.append((f"relations.{name}", pairs.columns.user, f"relations.{name}.columns.user"))
        user_columns = [find_id_column(sources[source], column, key) for source, column, key in users]
        item_columns = [find_id_column(sources[source], column, key) for source, column, key in items]
        return IdType.from_columns("user", user_columns), IdType.from_columns("item", item_columns)

    def _read_tables(
        self, sources: Mapping[str, Source], users: IdType, items: IdType
    ) -> dict[str, OwnTable]:
        contract, tables = self.contract, {}
        for name, table, ids in (("items", contract.items, items), ("users", contract.users, users)):
            if table is not None:
                tables[name] = read_table(sources[name], name, contract, ids, self.ids.number_role)
                self._add(tables[name].report)
        if "items" in tables:
            tables["items"], reports = add_values(tables["items"], sources, contract, items)
            for report in reports:
                self._add(report)
        return tables

    def _read_past(self, past: Past, parts: ReadTables, sources: Mapping[str, Source]) -> PastLists:
        users, items = parts.table("users"), parts.table("items")
        if "past" in sources:
            lists, report = read_lists(sources["past"], past, self.ids.maps, users, items)
            self.reports.append(report)
            self.notes = (f"histories of {report.kept:,} of {len(users):,} users, from {past.path}",)
            return lists
        events = sources["events"]
        impressions = read_impressions(events.database, self.contract, PAST).impressions
        files = ", ".join(path.name for path in events.files)
        self.notes = (f"{past.path} is missing: histories come from {len(impressions):,} rows of {files}",)
        return lists_from_log(impressions, past, users)

    def _add(self, report: TableReport) -> None:
        """Keeps the report. Raises DataError for rows that cannot be used, unless they are skipped."""
        self.reports.append(report)
        if report.unusable and not self.skip_bad:
            reason, rows = next(iter(report.unusable.items()))
            n_others = sum(other.count for other in report.unusable.values()) - rows.count
            other_rows = f", and {n_others:,} more for other reasons" if n_others else ""
            raise DataError(
                f"{rows.places[0] if rows.places else report.files[0]}: {reason} ({rows.count:,} of "
                f"{report.rows:,} rows of {report.name}{other_rows}). Correct them, or leave them out with "
                "--skip-bad; karec data check shows all reasons."
            )
