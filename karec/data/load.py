"""A folder with a data.toml → a dataset, the maps of its ids, and a report of what was read, kept and left
out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from karec.catalog.dataset import Dataset
from karec.data.cells import Check
from karec.data.checks import id_column
from karec.data.contract import Contract, Files, read_contract
from karec.data.database import Database, open_database
from karec.data.dataset import Parts, dataset_of
from karec.data.events import IdKind, id_kind, read_events
from karec.data.files import Source, open_source
from karec.data.impressions import read_shown
from karec.data.numbering import Numbering
from karec.data.past import Lists, earlier_files, has_lists, lists_of_log, read_lists
from karec.data.presets import preset_contract
from karec.data.report import DataReport, Reason, TableReport
from karec.data.shapes import PAST, make_exposures
from karec.data.tables import OwnTable, read_table
from karec.data.values import with_values
from karec.errors import DataError
from karec.index import IdMap
from karec.times import Progress

STEPS = 6
REPEATED = "one user, item and moment with another row"


@dataclass(frozen=True, eq=False)
class OwnData:
    """``ids``: maps of users, items and, where they are texts, creators and songs; their files lie with the
    caller."""

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
) -> OwnData:
    """Reads what ``folder/data.toml`` names, or what the ``preset`` names in ``folder``; the maps of ids are
    written into ``ids_folder``, which exists.

    ``skip_bad`` leaves out rows that cannot be used; without it the first of them is refused. Events later
    than a day after ``now_ms`` (now) are such rows. The result does not depend on the order of rows or how
    they lie in files.

    Raises ConfigError for a wrong data.toml, DataError naming file, line, column and what to do.
    """
    contract = read_contract(Path(folder)) if preset is None else preset_contract(preset, Path(folder))
    with open_database(zone=contract.zone) as database:
        work = _Import(contract, database, ids_folder, progress, skip_bad)
        try:
            return work.run(int(time.time() * 1000) if now_ms is None else now_ms)
        except DataError as error:
            raise DataError("; ".join((str(error), *work.left_out()))) from error


class _Import:
    """One reading of a data.toml: the database, its sources, and the reports so far."""

    def __init__(
        self,
        contract: Contract,
        database: Database,
        ids_folder: Path,
        progress: Progress | None,
        skip_bad: bool,
    ) -> None:
        self.contract, self.ids_folder, self.skip_bad = contract, ids_folder, skip_bad
        self.progress = progress
        self.database = database
        self.reports: list[TableReport] = []

    def run(self, now_ms: int) -> OwnData:
        contract, database = self.contract, self.database
        self._say(0, "looking at files")
        sources = self._sources()
        users, items = self._id_kinds(sources)
        self._say(1, "events")
        events = read_events(database, sources["events"], contract, users, items, now_ms)
        self._checked(events)
        self._say(2, "items and users")
        numbering = Numbering(database, self.ids_folder)
        tables = self._tables(sources, users, items, numbering)
        self._say(3, "ids")
        left_out = numbering.number_events(
            sources["events"], tables.get("items"), tables.get("users"), contract.strict
        )
        left_out |= make_exposures(database, sources["events"], contract)
        self._say(4, "relations")
        relations = numbering.relations(contract, sources, self._checked)
        self._say(5, "exposures")
        shown = read_shown(database, contract)
        parts = Parts(contract, tables, relations, numbering)
        lists, notes = self._past(parts, sources)
        made = dataset_of(shown, parts, lists)
        repeats = {
            REPEATED: shown.repeated - shown.differing,
            f"{REPEATED}, of other values": shown.differing,
        }
        left_out |= {why: Reason(count) for why, count in repeats.items() if count}
        kept = events.kept - sum(reason.count for reason in left_out.values())
        self.reports[0] = replace(events, kept=kept, left_out=left_out)
        self._say(STEPS, "done")
        report = replace(
            made.report,
            tables=tuple(self.reports),
            notes=(*made.dataset.notes, *notes),
            unknown_items=numbering.unknown_items,
        )
        told = (*report.notes, *(note for table in self.reports for note in table.notes()))
        columns = {table.name: {each.name: each.becomes for each in table.columns} for table in self.reports}
        return OwnData(replace(made.dataset, notes=told, columns=columns), numbering.maps, report)

    def _past(self, parts: Parts, sources: Mapping[str, Source]) -> tuple[Lists | None, tuple[str, ...]]:
        """What was before, where the contract has a past, and where it was found."""
        contract, past = self.contract, self.contract.past
        if past is None:
            return None, ()
        users, items = parts.table_of("users"), parts.table_of("items")
        if "past" in sources:
            lists, report = read_lists(
                self.database, sources["past"], past, parts.numbering.maps, users, items
            )
            self.reports.append(report)
            return lists, (f"histories of {report.kept:,} of {len(users):,} users, from {past.path}",)
        rows = read_shown(self.database, contract, PAST)
        files = ", ".join(path.name for path in sources["events"].files)
        note = f"there is no {past.path}: histories are made of {len(rows.exposures):,} rows of {files}"
        return lists_of_log(rows.exposures, past, users), (note,)

    def left_out(self) -> list[str]:
        """What was left out so far because it cannot be used, a part of a sentence for each table."""
        return [note for table in self.reports if table.bad for note in table.gone()] if self.skip_bad else []

    def _say(self, done: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, STEPS, what)

    def _sources(self) -> dict[str, Source]:
        contract = self.contract
        tables: dict[str, Files | None] = {
            "events": contract.events, "items": contract.items, "users": contract.users
        }  # fmt: skip
        tables |= {f"relation_{at}": table for at, table in enumerate(contract.relations.values())}
        for name, values in ({} if contract.items is None else contract.items.values).items():
            tables |= {f"values.{name}": values, f"names.{name}": values.names}
        if contract.past is not None and has_lists(contract):
            tables["past"] = Files(contract.past.path)
        more = {"events": earlier_files(contract)}
        return {
            name: open_source(
                self.database, f"source_{at}", table, contract.folder, more.get(name, ()), contract.strict
            )
            for at, (name, table) in enumerate(tables.items())
            if table is not None
        }

    def _id_kinds(self, sources: Mapping[str, Source]) -> tuple[IdKind, IdKind]:
        contract, events = self.contract, self.contract.events.columns
        checks: dict[str, tuple[Check, ...]] = {"events": contract.events.checks}
        checks |= {} if contract.users is None else {"users": contract.users.checks}
        checks |= {} if contract.items is None else {"items": contract.items.checks}
        checks |= {f"relation_{at}": pairs.checks for at, pairs in enumerate(contract.relations.values())}
        wanted: dict[str, list[tuple[str, str, str]]] = {
            "user": [("events", events.user, "events.columns.user")],
            "item": [("events", events.item, "events.columns.item")],
        }
        if contract.users is not None:
            wanted["user"].append(("users", contract.users.id, "users.id"))
        if contract.items is not None:
            wanted["item"].append(("items", contract.items.id, "items.id"))
        for at, (name, pairs) in enumerate(contract.relations.items()):
            wanted["user"].append((f"relation_{at}", pairs.columns.user, f"relations.{name}.columns.user"))
        kinds = []
        for what, places in wanted.items():
            for source, name, asked in places:
                sources[source].column(name, asked)
            columns = [id_column(self.database, sources[s], name, checks.get(s, ())) for s, name, _ in places]
            kinds.append(id_kind(what, columns))
        return kinds[0], kinds[1]

    def _tables(
        self, sources: Mapping[str, Source], users: IdKind, items: IdKind, numbering: Numbering
    ) -> dict[str, OwnTable]:
        found: dict[str, OwnTable] = {}
        for name, table, kind in (
            ("items", self.contract.items, items),
            ("users", self.contract.users, users),
        ):
            if table is not None:
                found[name] = read_table(
                    self.database, sources[name], table, self.contract, kind, numbering.of_role
                )
                self._checked(found[name].report)
        if self.contract.items is not None:
            found["items"], reports = with_values(
                self.database, sources, self.contract, found["items"], items
            )
            for report in reports:
                self._checked(report)
        return found

    def _checked(self, report: TableReport) -> None:
        """Keeps the report. Rows that cannot be used are refused unless they may be skipped."""
        self.reports.append(report)
        if report.bad and not self.skip_bad:
            why, reason = next(iter(report.bad.items()))
            others = sum(each.count for each in report.bad.values()) - reason.count
            more = f", and {others:,} more for other reasons" if others else ""
            raise DataError(
                f"{reason.places[0] if reason.places else report.files[0]}: {why} ({reason.count:,} of "
                f"{report.rows:,} rows of {report.name}{more}): mend them, or leave them out with "
                "--skip-bad; karec data check shows all reasons"
            )
