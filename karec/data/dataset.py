"""Numbered exposures and tables → the dataset: a snapshot after the first of them, the rest, and where they
are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.catalog import schema
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.data.checks import moment_ms
from karec.data.contract import Contract
from karec.data.impressions import Shown
from karec.data.kinds import EARLIEST_MS
from karec.data.negatives import draw_negatives
from karec.data.numbering import Numbering
from karec.data.past import Lists, known_of
from karec.data.report import DataReport, moment
from karec.data.tables import OwnTable
from karec.data.timeless import cuts, made_up_days, note
from karec.errors import DataError
from karec.times import DAY_MS

ROLES = {schema.CREATOR, schema.SONG, schema.TYPE, schema.TAG, schema.PUBLISHED}


@dataclass(frozen=True, eq=False)
class Parts:
    """What was read: the contract, tables by name, relations as numbers, and the numbers of ids."""

    contract: Contract
    tables: Mapping[str, OwnTable]
    relations: Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
    numbering: Numbering

    def table_of(self, what: str) -> Table:
        """Items or users: a row for each, those whom only the log names too."""
        items = self.contract.items
        taken = (
            ROLES - set(items.roles.named.values() if items is not None else ()) if what == "items" else set()
        )
        table = _table(self.numbering.rows[what], self.tables.get(what), taken)
        return _with_own_codes(table) if what == "items" else table


@dataclass(frozen=True, eq=False)
class Made:
    dataset: Dataset
    report: DataReport


def dataset_of(shown: Shown, parts: Parts, lists: Lists | None = None) -> Made:
    """``lists`` are what was before. DataError where nothing can be learned."""
    contract, exposures = parts.contract, shown.exposures
    parts = replace(parts, tables=_with_shared_names(parts.tables))
    notes: tuple[str, ...] = ()
    items, users = parts.table_of("items"), parts.table_of("users")
    relations = _relations(parts, users)
    if lists is not None and contract.past is not None:
        known = known_of(lists, contract.past, contract.said, items)
        items = replace(items, columns={**items.columns, **known.item_columns})
        users = replace(users, columns={**users.columns, **known.user_columns})
        relations |= known.relations
    timeless = contract.split.by == "user"
    start_ms = _first_day(items, users)
    if timeless:
        notes = (note(contract.split),)
        exposures = _with_moments(exposures, start_ms, contract)
    if contract.shape == "positives":
        exposures = _with_negatives(exposures, items, contract)
        share = contract.negatives
        notes = (
            *notes,
            f"the log holds positives alone: {share.per_positive} negatives for each were drawn, by "
            f"popularity to the "
            f"power {share.popularity:g}; no figure on them says how often a shown item is taken",
        )
    cut = (
        _timeless_cuts(exposures.time_ms, start_ms, contract)
        if timeless
        else _cuts(exposures.time_ms, contract)
    )
    snapshot = Snapshot(
        min(int(exposures.time_ms[0]), cut[0]),
        items,
        users,
        relations,
        {**_names(parts), "scene": shown.scenes},
        meaning=contract.said,
    )
    snapshot = advance(snapshot, exposures, cut[0])
    later = exposures.take(slice(int(np.searchsorted(exposures.time_ms, cut[0])), None))
    weights = {name: label.weight for name, label in contract.labels.items()}
    dataset = Dataset(
        contract.name, snapshot, later, cut[1], cut[2], contract.tasks, weights, notes,
        drawn=contract.negatives.popularity if contract.shape == "positives" else None, timeless=timeless,
    )  # fmt: skip
    _check_labels(dataset)
    return Made(dataset, _report(dataset, exposures, parts))


def _first_day(*tables: Table) -> int:
    """Unix ms of the day after every moment in ``tables``, of 2000-01-02 where they hold none."""
    known = [
        np.asarray(column)
        for table in tables
        for name, column in table.columns.items()
        if name.endswith("_ms")
    ]
    last = max((int(column.max(initial=0)) for column in known if column.dtype.kind == "i"), default=0)
    return (max(last, EARLIEST_MS) // DAY_MS + 1) * DAY_MS


def _with_moments(positives: Impressions, start_ms: int, contract: Contract) -> Impressions:
    """``positives``, in order of moments that are made up, from ``start_ms`` on."""
    _, user = np.unique(positives.user_id, return_inverse=True)
    moments = start_ms + made_up_days(user, contract.split) * DAY_MS
    dated = replace(positives, time_ms=moments)
    return dated.take(np.lexsort((dated.work_id, dated.user_id, moments)))


def _with_negatives(positives: Impressions, items: Table, contract: Contract) -> Impressions:
    _, user = np.unique(positives.user_id, return_inverse=True)
    places, drawn = draw_negatives(user, items.lookup(positives.work_id), len(items), contract.negatives)
    every = positives.take(np.concatenate([np.arange(len(positives)), places]))
    (label,) = contract.label_names
    positive = np.concatenate([np.ones(len(positives), np.uint8), np.zeros(len(places), np.uint8)])
    work = np.concatenate([positives.work_id, np.asarray(items.ids)[drawn]])
    order = np.lexsort((work, every.user_id, every.time_ms))
    return Impressions(every.user_id, work, every.time_ms, every.scene, {label: positive}).take(order)


def _table(numbers: NDArray[Any], table: OwnTable | None, taken: set[str]) -> Table:
    """A row for each of ``numbers``; those that the file does not hold have nothing: −1, 0 or NaN."""
    columns: dict[str, NDArray[Any]] = {}
    for name, values in ({} if table is None else table.columns).items():
        more = len(numbers) - len(values)
        missing = np.nan if values.dtype.kind == "f" else 0 if name.endswith("_ms") else -1
        columns[_free(name, values, taken)] = np.concatenate([values, np.full(more, missing, values.dtype)])
    return Table(numbers, columns)


def _with_own_codes(items: Table) -> Table:
    """A creator or song that is missing gets a negative code of its own: nobody's items must not be one
    creator's."""
    columns = dict(items.columns)
    for name in (schema.CREATOR, schema.SONG):
        if name in columns:
            columns[name] = np.where((columns[name] == -1) & (items.ids >= 0), -1 - items.ids, columns[name])
    return replace(items, columns=columns)


def _free(name: str, values: NDArray[Any], taken: set[str]) -> str:
    """``name``, or another one where a snapshot would read it as a counter, a role or a moment, which it is
    not."""
    mistaken = schema.is_counter(name) or name in taken or (name.endswith("_ms") and values.dtype == np.int32)
    return f"{name}_" if mistaken else name


def _with_shared_names(tables: Mapping[str, OwnTable]) -> dict[str, OwnTable]:
    """A category that items and users have by one name has the same codes in both: they are compared."""
    found = dict(tables)
    if len(found) == 2:
        for name in sorted(found["items"].names.keys() & found["users"].names.keys()):
            names = sorted({*found["items"].names[name], *found["users"].names[name]})
            found = {what: _recoded(table, name, names) for what, table in found.items()}
    return found


def _recoded(table: OwnTable, column: str, names: list[str]) -> OwnTable:
    """``table`` with the codes of ``column`` as ``names`` orders them."""
    places = {name: at for at, name in enumerate(names)}
    codes = np.array([*(places[name] for name in table.names[column]), -1], np.int32)
    columns = {**table.columns, column: codes[table.columns[column]]}
    return replace(table, columns=columns, names={**table.names, column: names})


def _names(parts: Parts) -> dict[str, list[str]]:
    return {name: names for table in parts.tables.values() for name, names in table.names.items()}


def _relations(parts: Parts, users: Table) -> dict[str, Relation]:
    found = {}
    for name, (user, other, time_ms) in parts.relations.items():
        rows = users.lookup(user)
        known = rows >= 0
        found[name] = Relation.from_pairs(rows[known], other[known], len(users), time_ms[known])
    return found


def _cuts(time_ms: NDArray[Any], contract: Contract) -> tuple[int, int, int]:
    """(end of what is history, of training, of validation): the split's moments, or those at which its shares
    are reached.
    """
    split, n = contract.split, len(time_ms)
    if not n:
        raise DataError(
            f"{contract.events.path}: no row from split.begin.training on: is the right column the time?"
        )
    shares = (split.history, 1 - split.validation - split.test, 1 - split.test)
    cuts = [int(time_ms[min(int(share * n), n - 1)]) for share in shares]
    if split.begin is not None:
        zone = ZoneInfo(contract.zone)
        cuts = [
            moment_ms(each, zone) for each in (split.begin.training, split.begin.validation, split.begin.test)
        ]
    if not cuts[0] < cuts[1] < cuts[2] <= int(time_ms[-1]):
        raise DataError(
            f"{contract.name}: {n:,} exposures at {len(np.unique(time_ms)):,} moments cannot be split by "
            "time into history, training, validation and test: is the right column the time?"
        )
    return cuts[0], cuts[1], cuts[2]


def _timeless_cuts(time_ms: NDArray[Any], start_ms: int, contract: Contract) -> tuple[int, int, int]:
    found = cuts(start_ms)
    parts = np.searchsorted(time_ms, found).tolist()
    if not parts[0] < parts[1] < parts[2] < len(time_ms):
        raise DataError(
            f"{contract.name}: no user has enough of the {len(time_ms):,} positives to split them into "
            f"training, validation ({contract.split.validation:.0%}) and test ({contract.split.test:.0%})"
        )
    return found


def _split(dataset: Dataset) -> dict[str, Impressions]:
    """Parts of the dataset's exposures, which are in order of time; nothing is copied."""
    exposures = dataset.exposures
    first, second = np.searchsorted(
        exposures.time_ms, [dataset.train_until_ms, dataset.valid_until_ms]
    ).tolist()
    cuts = {"training": slice(0, first), "validation": slice(first, second), "test": slice(second, None)}
    return {name: exposures.take(cut) for name, cut in cuts.items()}


def _check_labels(dataset: Dataset) -> None:
    parts = _split(dataset)
    for part in ("training", "test"):
        exposures = parts[part]
        for task in dataset.tasks:
            share = float(exposures.labels[task].mean()) if len(exposures) else 0.0
            if share in (0.0, 1.0):
                raise DataError(
                    f"{dataset.name}: label {task!r} is {share:.0f} in all {len(exposures):,} exposures of "
                    f"{part}: nothing can be learned of it; write task = false under [labels.{task}], or say "
                    "otherwise when it is positive"
                )


def _report(dataset: Dataset, exposures: Impressions, parts: Parts) -> DataReport:
    shown = np.unique(exposures.work_id)
    table = parts.tables.get("users")
    moments = {
        "first": exposures.time_ms[0],
        "training": dataset.snapshot.time_ms,
        "validation": dataset.train_until_ms,
    }
    moments |= {"test": dataset.valid_until_ms, "last": exposures.time_ms[-1]}
    if dataset.timeless:
        moments = {}
    return DataReport(
        name=dataset.name,
        shape=parts.contract.shape,
        tables=(),
        users=len(dataset.snapshot.users),
        items=len(dataset.snapshot.works),
        exposures=len(exposures),
        users_without_row=0 if table is None else len(dataset.snapshot.users) - len(table.ids),
        items_without_exposure=len(dataset.snapshot.works) - len(shown),
        labels={name: float(label.mean()) for name, label in exposures.labels.items()},
        moments={name: moment(int(ms)) for name, ms in moments.items()},
        parts={
            "history": len(exposures) - len(dataset.exposures),
            **{name: len(part) for name, part in _split(dataset).items()},
        },
        notes=dataset.notes,
    )
