"""Reads or makes the lists of items that users saw before the training begins.

Lists come from a Parquet table, or from the log's earlier rows. Both give the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.data.database import database_errors, quote_name
from karec.data.files import ROW, Source
from karec.data.log_settings import Past
from karec.data.report import TableReport
from karec.errors import DataError
from karec.features.table import scale_counters
from karec.index import IdMap

MAX_SHOWN = 10**9  # items of one user
MAX_LISTED = 1_000  # ids in all lists of a user, on average


@dataclass(frozen=True, eq=False)
class PastLists:
    """Lists by user row, oldest item first.

    shown      the last items shown
    by_label   the last items with the label
    n_shown    (U,) number of items shown in all
    """

    shown: Relation
    by_label: Mapping[str, Relation]
    n_shown: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PastColumns:
    """Relations and columns from the past.

    ``past_log_exposed`` and ``past_log_<label>`` are log(1 + count), ``past_rate_<label>`` is a log odds
    relative to the rate of all users. Counts are over the lists, except a user's number of shown items. They
    are no ``count_*`` columns, since the lists are cut. A rate is over the last items shown; over all items
    shown to users whose list is not cut. Lists have no times: an item shown twice and labelled once counts
    as labelled twice.
    """

    relations: dict[str, Relation]
    users: dict[str, NDArray[Any]]
    items: dict[str, NDArray[Any]]


def lists_from_log(impressions: Impressions, past: Past, users: Table) -> PastLists:
    """Makes the lists from earlier impressions, ordered by time."""
    rows = users.lookup(impressions.user_id)

    def last(selected: NDArray[Any]) -> Relation:
        items, times = impressions.work_id[selected], impressions.time_ms[selected]
        return _cut(Relation.from_pairs(rows[selected], items, len(users), times), past.kept)

    by_label = {label: last(impressions.labels[label] > 0) for label in past.labels}
    return PastLists(last(np.ones(len(rows), bool)), by_label, np.bincount(rows, minlength=len(users)))


def read_lists(
    source: Source, past: Past, maps: Mapping[str, IdMap], users: Table, items: Table
) -> tuple[PastLists, TableReport]:
    """Reads the table of lists; a user without a row has none. Raises DataError with row and column."""
    _check_types(source, past)
    path, lists = source.files[0], [past.shown, *past.labels.values()]
    names = ", ".join(map(quote_name, dict.fromkeys([past.user, past.count, *lists])))
    with database_errors(path):
        erased = " OR ".join(condition for condition, _ in source.mistakes) or "false"
        columns = source.database.arrow(
            f"SELECT {names} FROM {source.name} WHERE NOT ({erased}) ORDER BY {ROW}"
        )
    for name, problem in {past.user: "the user is missing", past.count: "the number is missing"}.items():
        _require(path, name, np.asarray(columns[name].is_valid()), problem)
    rows = users.lookup(_numbers(path, past.user, maps["users"], columns[past.user]))
    _require(path, past.user, rows >= 0, "the user is in no other table")
    is_first = np.zeros(len(rows), bool)
    is_first[np.unique(rows, return_index=True)[1]] = True
    _require(path, past.user, is_first, "the user appears twice")
    counts = columns[past.count].to_numpy().astype(np.int64)
    _require(path, past.count, (counts >= 0) & (counts <= MAX_SHOWN), f"not within 0 … {MAX_SHOWN}")
    relations = []
    for name in lists:
        _require(path, name, np.asarray(columns[name].is_valid()), "the list is missing")
        lengths, values = np.diff(columns[name].offsets.to_numpy()), columns[name].flatten()
        owners = np.repeat(np.arange(len(rows)), lengths)
        _require(path, name, np.asarray(values.is_valid()), "an id in the list is missing", owners)
        ids = _numbers(path, name, maps["items"], values)
        _require(path, name, items.lookup(ids) >= 0, "an item in the list is not in items", owners)
        _require(path, name, lengths <= counts, f"more items than {past.count!r} says")
        relations.append(_cut(Relation.from_pairs(rows[owners], ids, len(users)), past.kept))
    n_shown = np.zeros(len(users), np.int64)
    n_shown[rows] = counts
    report = TableReport("past", (str(path),), len(rows), len(rows))
    return PastLists(relations[0], dict(zip(past.labels, relations[1:], strict=True)), n_shown), report


def past_columns(lists: PastLists, past: Past, meaning: Meaning, items: Table) -> PastColumns:
    """Returns columns and relations. ``history`` has the items of the first label that means enjoyed."""
    n_items, n_users = len(items), len(lists.shown)
    shown = items.lookup(lists.shown.values)
    owner = _owners(lists.shown)
    n_listed = np.diff(lists.shown.indptr)
    user_columns = {"past_log_exposed": _log(lists.n_shown)}
    item_columns = {"past_log_exposed": _log(np.bincount(shown, minlength=n_items))}
    for label, relation in lists.by_label.items():
        labelled, n_labelled = items.lookup(relation.values), np.diff(relation.indptr)
        user_columns[f"past_log_{label}"] = _log(n_labelled)
        item_columns[f"past_log_{label}"] = _log(np.bincount(labelled, minlength=n_items))
    for label, relation in lists.by_label.items():
        labelled, n_labelled = items.lookup(relation.values), np.diff(relation.indptr)
        has_label = np.isin(owner * n_items + shown, _owners(relation) * n_items + labelled)
        rate = float(np.clip(has_label.mean() if len(has_label) else 0.5, 1e-6, 1 - 1e-6))
        is_whole = n_labelled < past.kept
        n = np.where(is_whole, lists.n_shown, n_listed)
        positives = np.where(is_whole, n_labelled, np.bincount(owner[has_label], minlength=n_users))
        user_columns[f"past_rate_{label}"] = _log_odds(np.minimum(positives, n), n, rate)
        n, positives = (np.bincount(part, minlength=n_items) for part in (shown, shown[has_label]))
        item_columns[f"past_rate_{label}"] = _log_odds(positives, n, rate)
    relations = {}
    for name, labels in (("history", meaning.enjoyed), ("liked", meaning.liked)):
        for label in [label for label in lists.by_label if label in labels][:1]:
            relations[name] = lists.by_label[label]
    return PastColumns(relations, user_columns, item_columns)


def _check_types(source: Source, past: Past) -> None:
    """Raises DataError for missing columns, other types, or more ids than so many users can have."""
    import pyarrow.parquet

    path, lists = source.files[0], (past.shown, *past.labels.values())
    for name in (past.user, past.count, *lists):
        source.require(name, "past")
    for name in lists:
        if not source.types[name].endswith("[]"):
            raise DataError(f"{path}: column {name!r} is {source.types[name]}, expected a list of ids")
    if not source.types[past.count].endswith(("INT", "INTEGER")):
        kind = source.types[past.count]
        raise DataError(f"{path}: column {past.count!r} is {kind}, expected whole numbers")
    metadata = pyarrow.parquet.read_metadata(path)
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    n_values = sum(group.column(at).num_values for group in groups for at in range(group.num_columns))
    rows = source.database.count(source.name)
    if n_values > MAX_LISTED * max(rows, 1):
        raise DataError(
            f"{path}: {n_values:,} values in {rows:,} rows: expected at most {MAX_LISTED:,} ids for a user"
        )


def _numbers(path: Path, name: str, id_map: IdMap, ids: Any) -> NDArray[Any]:
    import pyarrow

    expected = pyarrow.int64() if id_map.kind == "integer" else pyarrow.string()
    if ids.type != expected:
        raise DataError(f"{path}: column {name!r} holds {ids.type}, the log's ids are {id_map.kind}s")
    try:
        return id_map.numbers(ids)
    except ValueError as error:  # a negative id if all others are not
        raise DataError(f"{path}: column {name!r}: {error}") from error


def _require(
    path: Path, name: str, is_good: NDArray[Any], problem: str, rows: NDArray[Any] | None = None
) -> None:
    """Raises DataError with the row, from 1, of the first bad entry. ``rows``: those of the entries."""
    bad = np.flatnonzero(~is_good)
    if len(bad):
        row = int(bad[0] if rows is None else rows[bad[0]]) + 1
        raise DataError(f"{path}: row {row}: column {name!r}: {problem} ({len(bad):,} of {len(is_good):,})")


def _cut(relation: Relation, n: int) -> Relation:
    """Returns the last ``n`` entries of each row, without times, which lists of a table lack."""
    lengths = np.diff(relation.indptr)
    from_end = np.repeat(relation.indptr[1:], lengths) - np.arange(len(relation.values))
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, n))])
    return Relation(indptr, relation.values[from_end <= n], np.zeros(int(indptr[-1]), np.int64))


def _owners(relation: Relation) -> NDArray[Any]:
    """Returns (V,) int64: the row of each value."""
    return np.repeat(np.arange(len(relation)), np.diff(relation.indptr))


def _log(counts: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.log1p(counts), np.float32)


def _log_odds(positives: NDArray[Any], n: NDArray[Any], prior: float) -> NDArray[Any]:
    return np.asarray(scale_counters(np.column_stack([n, positives]), np.array([prior])))[:, 1]
