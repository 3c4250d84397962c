"""What users did before the training begins, as lists without moments, and what can be counted of them.

Two sources give the same result: a table of ready-made lists, which holds each user's last ``past.kept``
items that were shown and those with a label; and the log's rows of before, from which the same lists are
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.data.contract import Contract, Past
from karec.data.database import Database, database_errors, quote_name
from karec.data.files import FILE_NUMBER, ROW, Source
from karec.data.report import TableReport
from karec.errors import DataError
from karec.features.table import scale_counters
from karec.index import IdMap

MOST_SHOWN = 10**9  # items to one user
MOST_LISTED = 1_000  # items in all lists of a user, on average


@dataclass(frozen=True, eq=False)
class Lists:
    """By row of users: the last ``kept`` items ``shown`` and, by label, those with it; ``n_shown``: how many
    in all."""

    shown: Relation
    by_label: Mapping[str, Relation]
    n_shown: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Known:
    """Relations by user row, and numbers for users and items: ``past_log_exposed`` and ``past_log_<label>``,
    log(1 + count), and ``past_rate_<label>``, log odds against everybody's rate.

    Counts are over the kept lists, except a user's exposures, whose full number is known. They are no
    ``count_*`` columns, since the lists are cut at ``past.kept``. Rates are over the last items shown to each
    user, the only list with items that were passed over; over everything shown to users whose lists are not
    cut. The lists have no moments: an item shown twice and with a label once counts as with it twice.
    """

    relations: dict[str, Relation]
    user_columns: dict[str, NDArray[Any]]
    item_columns: dict[str, NDArray[Any]]


def has_lists(contract: Contract) -> bool:
    """Whether there is a table of ready-made lists; what lies there may be wrong."""
    return contract.past is not None and _lies(contract.folder / contract.past.path)


def earlier_files(contract: Contract) -> list[Path]:
    """The earlier part of the log, where there is one that is needed."""
    past = contract.past
    if past is None or past.log is None or has_lists(contract) or not _lies(contract.folder / past.log):
        return []
    return [contract.folder / past.log]


def lists_of_log(exposures: Impressions, past: Past, users: Table) -> Lists:
    """``exposures`` of before, in order of time."""
    rows = users.lookup(exposures.user_id)

    def last(chosen: NDArray[Any]) -> Relation:
        work, time = exposures.work_id[chosen], exposures.time_ms[chosen]
        return _last(Relation.from_pairs(rows[chosen], work, len(users), time), past.kept)

    by_label = {label: last(exposures.labels[label] > 0) for label in past.labels}
    return Lists(last(np.ones(len(rows), bool)), by_label, np.bincount(rows, minlength=len(users)))


def read_lists(
    database: Database, source: Source, past: Past, maps: Mapping[str, IdMap], users: Table, items: Table
) -> tuple[Lists, TableReport]:
    """The ready-made lists; users whom the table does not name have none. DataError naming row and column."""
    _check_lists(database, source, past)
    path, columns = source.files[0], [past.shown, *past.labels.values()]
    cells = ", ".join(
        f"{quote_name(name)} AS c{at}" for at, name in enumerate([past.user, past.count, *columns])
    )
    with database_errors(path):
        table = database.arrow(f"SELECT {cells} FROM {source.name} ORDER BY {FILE_NUMBER}, {ROW}")
    ids, counts = (table[f"c{at}"] for at in range(2))
    _require(path, past.user, np.asarray(ids.is_valid()), "the user is missing")
    _require(path, past.count, np.asarray(counts.is_valid()), "the number is missing")
    rows = users.lookup(_numbers(path, past.user, maps["users"], ids))
    _require(path, past.user, rows >= 0, "the user is in no other table")
    first = np.zeros(len(rows), bool)
    first[np.unique(rows, return_index=True)[1]] = True
    _require(path, past.user, first, "the user stands twice")
    if not str(counts.type).startswith(("int", "uint")):
        raise DataError(f"{path}: column {past.count!r} is {counts.type}: whole numbers are wanted")
    n_known = counts.to_numpy().astype(np.int64)
    _require(path, past.count, (n_known >= 0) & (n_known <= MOST_SHOWN), f"not within 0 … {MOST_SHOWN}")
    n_shown = np.zeros(len(users), np.int64)
    n_shown[rows] = n_known
    relations = []
    for at, name in enumerate(columns):
        column = table[f"c{at + 2}"]
        _require(path, name, np.asarray(column.is_valid()), "the list is missing")
        lengths = np.diff(column.offsets.to_numpy())
        values = column.flatten()
        of_value = np.repeat(np.arange(len(rows)), lengths)
        _require(path, name, np.asarray(values.is_valid()), "an id in the list is missing", of_value)
        works = _numbers(path, name, maps["items"], values)
        _require(path, name, items.lookup(works) >= 0, "an item in the list is not in items", of_value)
        _require(path, name, lengths <= n_known, f"more items than {past.count!r} says")
        relations.append(_last(Relation.from_pairs(np.repeat(rows, lengths), works, len(users)), past.kept))
    report = TableReport("past", (str(path),), len(rows), len(rows))
    return Lists(relations[0], dict(zip(past.labels, relations[1:], strict=True)), n_shown), report


def _log_odds(positives: NDArray[Any], exposed: NDArray[Any], prior: float) -> NDArray[Any]:
    return scale_counters(np.column_stack([exposed, positives]), np.array([prior]))[:, 1]


def known_of(lists: Lists, past: Past, said: Meaning, items: Table) -> Known:
    """``history`` holds the items of the first label of the past that says enjoyed, ``liked`` of one that
    says that."""
    done = list(lists.by_label.values())
    by_user = [lists.n_shown, *(np.diff(relation.indptr) for relation in done)]
    by_item = [np.bincount(items.lookup(each.values), minlength=len(items)) for each in (lists.shown, *done)]
    names = ("past_log_exposed", *(f"past_log_{label}" for label in lists.by_label))
    user_columns, item_columns = _log_counts(names, by_user), _log_counts(names, by_item)
    user, item = _owners(lists.shown), items.lookup(lists.shown.values)
    for label, relation in lists.by_label.items():
        did = np.isin(
            user * len(items) + item, _owners(relation) * len(items) + items.lookup(relation.values)
        )
        whole = np.diff(relation.indptr) < past.kept
        n = np.where(whole, lists.n_shown, np.diff(lists.shown.indptr))
        c = np.where(whole, np.diff(relation.indptr), np.bincount(user[did], minlength=len(lists.shown)))
        overall = float(np.clip(did.mean() if len(did) else 0.5, 1e-6, 1 - 1e-6))
        user_columns[f"past_rate_{label}"] = _log_odds(np.minimum(c, n), n, overall)
        n, c = (np.bincount(of, minlength=len(items)) for of in (item, item[did]))
        item_columns[f"past_rate_{label}"] = _log_odds(c, n, overall)
    relations = {}
    for name, labels in (("history", said.enjoyed), ("liked", said.liked)):
        for label in [label for label in lists.by_label if label in labels][:1]:
            relations[name] = lists.by_label[label]
    return Known(relations, user_columns, item_columns)


def _check_lists(database: Database, source: Source, past: Past) -> None:
    """DataError unless the columns are there and are lists, of no more ids than so many users can have."""
    for name in (past.user, past.count, past.shown, *past.labels.values()):
        source.column(name, "past")
    for name in (past.shown, *past.labels.values()):
        if not source.types[name].endswith("[]"):
            raise DataError(
                f"{source.files[0]}: column {name!r} is {source.types[name]}: a list of ids is wanted"
            )
    listed = _declared_values(source.files[0])
    rows = database.count(source.name)
    if listed > MOST_LISTED * max(rows, 1):
        raise DataError(
            f"{source.files[0]}: {listed:,} values in {rows:,} rows: at most {MOST_LISTED:,} ids for a user "
            f"are wanted"
        )


def _lies(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _declared_values(path: Path) -> int:
    """The values that a Parquet file declares, of all its columns."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
    return sum(group.column(at).num_values for group in groups for at in range(group.num_columns))


def _numbers(path: Path, name: str, known: IdMap, ids: Any) -> NDArray[Any]:
    import pyarrow

    wanted = pyarrow.int64() if known.kind == "integer" else pyarrow.string()
    if ids.type != wanted:
        raise DataError(f"{path}: column {name!r} holds {ids.type}, the log's ids are {known.kind}s")
    try:
        return known.numbers(ids)
    except ValueError as error:  # a negative id, where no other is
        raise DataError(f"{path}: column {name!r}: {error}") from error


def _require(path: Path, name: str, good: NDArray[Any], why: str, rows: NDArray[Any] | None = None) -> None:
    """DataError naming the first place that is not ``good``: its row of the file, which ``rows`` tells, from
    1."""
    bad = np.flatnonzero(~good)
    if len(bad):
        at = int(bad[0] if rows is None else rows[bad[0]]) + 1
        raise DataError(f"{path}: row {at}: column {name!r}: {why} ({len(bad):,} of {len(good):,})")


def _last(relation: Relation, kept: int) -> Relation:
    """The last ``kept`` of each row, without moments: ready-made lists have none."""
    lengths = np.diff(relation.indptr)
    left = np.repeat(relation.indptr[1:], lengths) - np.arange(len(relation.values))
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, kept))])
    return Relation(indptr, relation.values[left <= kept], np.zeros(int(indptr[-1]), np.int64))


def _owners(relation: Relation) -> NDArray[Any]:
    """(V,) int64: the row that each value belongs to."""
    return np.repeat(np.arange(len(relation)), np.diff(relation.indptr))


def _log_counts(names: Sequence[str], counts: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.log1p(count).astype(np.float32) for name, count in zip(names, counts, strict=True)}
