"""Makes the dataset from impressions and tables: a snapshot, the impressions after it, and the split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog import schema
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.data.columns import EARLIEST_MS
from karec.data.contract import POSITIVE, Contract
from karec.data.ids import IdNumbers, PairArrays
from karec.data.impressions import ReadImpressions
from karec.data.item_types import describe_works, with_known_codes
from karec.data.leaks import leak_notes
from karec.data.past import PastLists, past_columns
from karec.data.positives import draw_negatives, negatives_note
from karec.data.repeats import measure_repeats
from karec.data.report import DataReport, format_time
from karec.data.split import split_log
from karec.data.table_settings import ItemRows
from karec.data.tables import OwnTable, with_codes
from karec.errors import DataError
from karec.times import DAY_MS

HEAVY_SHARE = 0.1  # of all impressions; a user with more is named in a note
ROLES = {schema.CREATOR, schema.SONG, schema.TYPE, schema.TAG, schema.PUBLISHED}


@dataclass(frozen=True, eq=False)
class ReadTables:
    """What was read apart from events: tables by name, relations as numbers, and the numbers of ids.

    type_works   works of the items of each item type whose works are in a table
    """

    contract: Contract
    tables: Mapping[str, OwnTable]
    relations: Mapping[str, PairArrays]
    ids: IdNumbers
    type_works: Mapping[str, Relation] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        """Returns a table: rows of the file, then ids that only the log has, with missing values."""
        table, reserved = self.contract.rows.get(name), set[str]()
        if name != "users":
            roles = table.roles.snapshot_names if isinstance(table, ItemRows) else {}
            reserved = ROLES - {*roles.values()}
        numbers, columns = self.ids.rows[name], {}
        for column, values in self.tables[name].columns.items() if name in self.tables else ():
            fill_value = np.nan if values.dtype.kind == "f" else 0 if column.endswith("_ms") else -1
            fill_value = 0 if values.ndim == 2 else fill_value
            padding = np.full((len(numbers) - len(values), *values.shape[1:]), fill_value, values.dtype)
            columns[_free_name(column, values, reserved)] = np.concatenate([values, padding])
        if name != "users":  # items without a creator must not count as items of one creator
            for column in {schema.CREATOR, schema.SONG} & columns.keys():
                has_none = (columns[column] == -1) & (numbers >= 0)
                columns[column] = np.where(has_none, -1 - numbers, columns[column])
        return Table(numbers, columns)


def make_dataset(
    read: ReadImpressions, parts: ReadTables, lists: PastLists | None = None
) -> tuple[Dataset, DataReport]:
    """Returns the dataset and its report without tables. Raises DataError if nothing can be learned."""
    contract, impressions = parts.contract, read.impressions
    parts = replace(parts, tables=_with_shared_codes(parts.tables))
    items, users = parts.table("items"), parts.table("users")
    relations = _relations(parts, users)
    if lists is not None and contract.past is not None:
        past = past_columns(lists, contract.past, contract.meanings, items)
        items = replace(items, columns={**items.columns, **past.items})
        users = replace(users, columns={**users.columns, **past.users})
        relations |= past.relations
    has_only_positives = contract.shape == "positives"
    meaning, notes = _decide_consumed(impressions, contract)
    split = split_log(impressions, read.part, contract, _first_day(items, users))
    impressions, cuts = split.impressions, split.cuts
    notes = (*notes, *split.notes, *_user_notes(impressions, cuts, parts.ids))
    if "items" in parts.tables:
        positives = impressions.work_id[meaning.is_enjoyed(impressions.labels)]
        columns, names = parts.table("items").columns, parts.tables["items"].names
        notes = (*notes, *leak_notes(columns, names, items.lookup(positives)))
    if has_only_positives:
        notes = (*notes, negatives_note(contract.negatives))
        impressions = _with_negatives(impressions, items, cuts, contract)
    tables = [parts.tables[name] for name in ("items", "users") if name in parts.tables]
    labels = {name: codes for table in tables for name, codes in table.names.items()}
    item_types, type_notes = _item_types(parts, labels, items)
    notes = (*notes, *type_notes)
    labels["scene"] = read.scenes
    first_ms = min(int(impressions.time_ms[0]), cuts[0])
    snapshot = Snapshot(first_ms, items, users, relations, labels, meaning=meaning)
    dataset = Dataset(
        contract.name,
        advance(snapshot, impressions, cuts[0]),
        impressions.take(slice(int(np.searchsorted(impressions.time_ms, cuts[0])), None)),
        cuts[1],
        cuts[2],
        contract.tasks,
        {name: label.weight for name, label in contract.labels.items()},
        notes,
        drawn=contract.negatives.popularity if has_only_positives else None,
        timeless=split.is_timeless,
        item_types=item_types,
    )
    _check_labels(dataset)
    return dataset, _report(dataset, impressions, parts)


def _user_notes(impressions: Impressions, cuts: tuple[int, int, int], ids: IdNumbers) -> list[str]:
    """Returns notes on a user with many of the impressions, and on test users without earlier ones."""
    users, counts = np.unique(impressions.user_id, return_counts=True)
    notes = []
    if len(users) > 1 / HEAVY_SHARE and counts.max() > HEAVY_SHARE * len(impressions):
        (name,) = ids.maps["users"].names(users[[counts.argmax()]])
        share = counts.max() / len(impressions)
        notes.append(f"user {name} has {share:.0%} of the impressions. Remove them if the user is a program")
    is_test = impressions.time_ms >= cuts[2]
    test_users = np.unique(impressions.user_id[is_test])
    n_new = len(np.setdiff1d(test_users, impressions.user_id[~is_test]))
    if n_new:
        notes.append(f"{n_new:,} of {len(test_users):,} test users have no row before the test: they are new")
    return notes


def _decide_consumed(impressions: Impressions, contract: Contract) -> tuple[Meaning, tuple[str, ...]]:
    """Returns the meanings and notes. Repeats in the log decide what is consumed if data.toml does not."""
    consumed, notes = [], []
    for name in contract.consumption_labels:
        reason = "the log has no times, so an item counts once"
        is_wanted = False
        if contract.has_times:
            events = impressions.take(impressions.labels[name] > 0)
            rate = measure_repeats(events.user_id, events.work_id, events.time_ms)
            reason, is_wanted = str(rate), rate.is_wanted
        consumed += [] if is_wanted else [name]
        outcome = "pages contain consumed items" if is_wanted else "pages leave out consumed items"
        notes.append(f"label {name}: {reason}; {outcome}. meaning.consumed in data.toml overrides this")
    meaning = contract.meanings
    return replace(meaning, consumed=(*meaning.consumed, *consumed)), tuple(notes)


def _free_name(name: str, values: NDArray[Any], reserved: set[str]) -> str:
    """Returns another name if a snapshot would read the column as a counter, a role or a time."""
    is_code_of_time = name.endswith("_ms") and values.dtype == np.int32
    return f"{name}_" if schema.is_counter(name) or name in reserved or is_code_of_time else name


def _with_shared_codes(tables: Mapping[str, OwnTable]) -> dict[str, OwnTable]:
    """Gives a category of items and users with one name the same codes in both, since they are compared."""
    new_tables = dict(tables)
    if {"items", "users"} <= new_tables.keys():
        for column in sorted(new_tables["items"].names.keys() & new_tables["users"].names.keys()):
            names = sorted({*new_tables["items"].names[column], *new_tables["users"].names[column]})
            for key in ("items", "users"):
                new_tables[key] = with_codes(new_tables[key], column, names)
    return new_tables


def _item_types(
    parts: ReadTables, labels: Mapping[str, list[str]], works: Table
) -> tuple[dict[str, ItemTable], list[str]]:
    """Returns the tables [items.TYPE], and notes on items without works."""
    tables, notes = {}, []
    for name, settings in parts.contract.item_types.items():
        key = f"items.{name}"
        own = with_known_codes(parts.tables[key], labels)
        items = replace(parts, tables={key: own}).table(key)
        works_of = settings.works if isinstance(settings.works, str) else parts.type_works[name]
        tables[name] = ItemTable(items, own.names, works_of, settings.labels)
        notes.append(describe_works(name, tables[name], works))
    return tables, [note for note in notes if note is not None]


def _relations(parts: ReadTables, users: Table) -> dict[str, Relation]:
    relations = {}
    for name, (user, other, time_ms) in parts.relations.items():
        rows = users.lookup(user)
        is_user = rows >= 0
        relations[name] = Relation.from_pairs(rows[is_user], other[is_user], len(users), time_ms[is_user])
    return relations


def _first_day(*tables: Table) -> int:
    """Returns the Unix ms of the day after every time in ``tables``, of 2000-01-02 if they have none."""
    columns = [column for table in tables for name, column in table.columns.items() if name.endswith("_ms")]
    last = max((int(column.max(initial=0)) for column in columns if column.dtype.kind == "i"), default=0)
    return (max(last, EARLIEST_MS) // DAY_MS + 1) * DAY_MS


def _with_negatives(
    positives: Impressions, items: Table, cuts: tuple[int, int, int], contract: Contract
) -> Impressions:
    _, user = np.unique(positives.user_id, return_inverse=True)
    part = np.searchsorted(cuts[1:], positives.time_ms, side="right")
    positions, negatives = draw_negatives(
        user, items.lookup(positives.work_id), part, len(items), contract.negatives
    )
    impressions = positives.take(np.concatenate([np.arange(len(positives)), positions]))
    label = np.concatenate([np.ones(len(positives), np.uint8), np.zeros(len(positions), np.uint8)])
    impressions = replace(
        impressions,
        work_id=np.concatenate([positives.work_id, np.asarray(items.ids)[negatives]]),
        labels={contract.label_names[0]: label},
        play_ms=None,
    )
    return impressions.take(np.lexsort((impressions.work_id, impressions.user_id, impressions.time_ms)))


def _check_labels(dataset: Dataset) -> None:
    training, _, test = dataset.split()
    has_negatives = all(not part.labels[task].all() for part in (training, test) for task in dataset.tasks)
    if dataset.drawn is not None and not has_negatives:
        raise DataError(
            f"{dataset.name}: users took nearly all of the {len(dataset.snapshot.works):,} items, so no "
            "negatives can be drawn and models cannot learn. Serve the items by popularity instead."
        )
    for part, impressions in (("training", training), ("test", test)):
        for task in dataset.tasks:
            share = float(impressions.labels[task].mean()) if len(impressions) else 0.0
            if share in (0.0, 1.0):
                raise DataError(
                    f"{dataset.name}: label {task!r} is {share:.0f} in all {len(impressions):,} impressions "
                    f"of {part}: models cannot learn it. Write task = false under [labels.{task}], or change "
                    "its condition"
                )


def _report(dataset: Dataset, impressions: Impressions, parts: ReadTables) -> DataReport:
    times = {
        "first": impressions.time_ms[0],
        "training": dataset.snapshot.time_ms,
        "validation": dataset.train_until_ms,
        "test": dataset.valid_until_ms,
        "last": impressions.time_ms[-1],
    }
    n_users, n_items = len(dataset.snapshot.users), len(dataset.snapshot.works)
    shown = impressions
    if dataset.drawn is not None:  # drawn negatives were not shown
        shown = impressions.take(impressions.labels[POSITIVE] > 0)
    lengths = dict(zip(("training", "validation", "test"), map(len, dataset.split()), strict=True))
    return DataReport(
        name=dataset.name,
        shape=parts.contract.shape,
        tables=(),
        users=n_users,
        items=n_items,
        impressions=len(impressions),
        users_without_row=n_users - len(parts.tables["users"].ids) if "users" in parts.tables else 0,
        users_without_impression=n_users - len(np.unique(impressions.user_id)),
        items_without_impression=n_items - len(np.unique(shown.work_id)),
        labels={name: float(label.mean()) for name, label in impressions.labels.items()},
        times={} if dataset.timeless else {name: format_time(int(ms)) for name, ms in times.items()},
        parts={"history": len(impressions) - len(dataset.exposures), **lengths},
        notes=dataset.notes,
    )
