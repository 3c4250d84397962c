"""What KuaiRand's users did before the snapshot: histories, and how often each video was shown and viewed.

Two sources give the same result: the ready-made file, which holds each user's last 50 videos shown (``watch_seq``,
viewed or not), viewed long and liked before 04-25; and the earlier log, from which the same three lists are made.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karec.data.lines import open_file
from karec.data.tabular import arrow, require, require_ids, short
from karec.errors import DataError
from karec.features.table import log_odds
from karec.platform.events import Exposures
from karec.platform.relations import Relation
from karec.platform.table import Table
from karec.types import Array

LISTS = ("watch_seq", "long_watch_seq", "like_seq")
LABELS = ("long_view", "like")  # of the second list and the third
KEPT = 50  # latest videos of each list, in the ready-made file
MOST_SHOWN = 10**9  # videos to one user
CHILD_SECONDS, CHILD_BYTES = 60, 2 << 30  # limits of the process that tries a file; bytes of address space
_CHILD = """
import resource, sys
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
import pyarrow.parquet
pyarrow.parquet.ParquetFile(sys.argv[2]).read(columns=sys.argv[3:])
"""


@dataclass(frozen=True, eq=False)
class Past:
    """Relations by user row, and numbers for users and works: ``past_log_exposed``, ``_long_view``, ``_like``, each
    log(1 + count), and ``past_rate_long_view``, ``_like``, log odds against everybody's rate.

    Counts are over the kept lists, except a user's exposures, whose full number is known. They are no ``count_*``
    columns, since the lists are cut at KEPT and have no clicks. Rates are over the last KEPT works shown to each user,
    the only list with works that were passed over; over everything shown to users whose lists are not cut. The lists
    have no moments: a work shown twice and viewed long once counts as viewed long twice.
    """

    history: Relation
    liked: Relation
    user_columns: dict[str, Array]
    work_columns: dict[str, Array]


def past_from_log(logs: Sequence[Exposures], users: Table, works: Table) -> Past:
    """From exposures in order of time, oldest log first."""
    user = users.lookup(np.concatenate([log.user_id for log in logs]))
    work = np.concatenate([log.work_id for log in logs])
    time = np.concatenate([log.time_ms for log in logs])
    lists = []
    for label in (None, *LABELS):
        chosen = np.ones(len(user), bool) if label is None else np.concatenate([log.labels[label] for log in logs]) > 0
        lists.append(_last(Relation.from_pairs(user[chosen], work[chosen], len(users), time[chosen])))
    return _past(lists, np.bincount(user, minlength=len(users)), works)


def past_from_parquet(path: Path, users: Table, works: Table) -> tuple[Past, list[str]]:
    """From ``user_history_to_4_24.parquet``: user_id, history_len and three lists of video ids, oldest first. Also what
    is unknown.
    """
    table = _read_parquet(path)
    ids, n_known = table["user_id"].to_numpy(), table["history_len"].to_numpy()
    require_ids(path, "user_id", ids, unit="row")
    rows = users.lookup(ids)
    require(path, "user_id", rows >= 0, "a user of the user file", ids, unit="row")
    good = (n_known >= 0) & (n_known <= MOST_SHOWN)
    require(path, "history_len", good, f"a number of videos, 0 … {MOST_SHOWN}", n_known, unit="row")
    n_shown = np.zeros(len(users), np.int64)
    n_shown[rows] = n_known
    lists = []
    for name in LISTS:
        column = table[name].combine_chunks()
        values = column.flatten().to_numpy()
        require(path, name, works.lookup(values) >= 0, "a video of the video file", values, unit="value")
        lengths = np.diff(column.offsets.to_numpy())
        require(path, name, lengths <= n_known, "no more videos than history_len says", lengths, unit="row")
        lists.append(_last(Relation.from_pairs(np.repeat(rows, lengths), values, len(users))))
    note = f"{path.name}: histories of {len(ids)} of {len(users)} users"
    return _past(lists, n_shown, works), [note]


def _read_parquet(path: Path) -> Any:
    """Its columns, without empty cells."""
    pa = arrow()
    wanted = {"user_id": "int64", "history_len": "int64", **dict.fromkeys(LISTS, "list<element: int64>")}
    with open_file(path, f"a Parquet file with the columns {list(wanted)}") as file:
        try:
            parquet = pa.parquet.ParquetFile(file)
            _check_schema(path, parquet.schema_arrow, wanted)
            _try_in_child(path, list(wanted))
            table = parquet.read(columns=list(wanted))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not a whole Parquet file: {short(error)}") from error
    for name in wanted:
        column = table[name].combine_chunks()
        if column.null_count or (name in LISTS and column.values.null_count):
            raise DataError(f"{path}: column {name!r} has empty cells; expected none")
    return table


def _try_in_child(path: Path, columns: Sequence[str]) -> None:
    """DataError unless a process with limits reads the file: one of a few bytes can hold billions of values, and some
    that are damaged end the process that reads them.
    """
    command = [sys.executable, "-I", "-c", _CHILD, str(CHILD_BYTES), str(path), *columns]
    try:
        code = subprocess.run(command, capture_output=True, timeout=CHILD_SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        code = -1
    if code:
        raise DataError(
            f"{path} is not a whole Parquet file, or takes more than {CHILD_SECONDS} s or {CHILD_BYTES >> 30} GiB to "
            "read; expected the last 50 videos of each user"
        )


def _check_schema(path: Path, schema: Any, wanted: Mapping[str, str]) -> None:
    pa = arrow()
    for name, kind in wanted.items():
        if schema.names.count(name) != 1:
            many = "stands twice" if name in schema.names else "is missing"
            raise DataError(f"{path}: column {name!r} {many}; it has {short(schema.names)}")
        found = schema.field(name).type
        same = pa.types.is_list(found) and found.value_type == pa.int64() if name in LISTS else str(found) == kind
        if not same:
            raise DataError(f"{path}: column {name!r} is {short(found)}, expected {kind}")


def _last(relation: Relation) -> Relation:
    """The last KEPT of each row, without moments: the ready-made file has none."""
    lengths = np.diff(relation.indptr)
    left = np.repeat(relation.indptr[1:], lengths) - np.arange(len(relation.values))
    indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, KEPT))])
    return Relation(indptr, relation.values[left <= KEPT], np.zeros(int(indptr[-1]), np.int64))


def _past(lists: Sequence[Relation], n_shown: Array, works: Table) -> Past:
    shown, *done = lists
    by_user = [n_shown, *(np.diff(relation.indptr) for relation in done)]
    by_work = [np.bincount(works.lookup(relation.values), minlength=len(works)) for relation in lists]
    user_columns, work_columns = _log_counts(by_user), _log_counts(by_work)
    user, work = _owners(shown), works.lookup(shown.values)
    for label, relation in zip(LABELS, done, strict=True):
        did = np.isin(user * len(works) + work, _owners(relation) * len(works) + works.lookup(relation.values))
        whole = np.diff(relation.indptr) < KEPT
        n = np.where(whole, n_shown, np.diff(shown.indptr))
        c = np.where(whole, np.diff(relation.indptr), np.bincount(user[did], minlength=len(shown)))
        overall = float(np.clip(did.mean() if len(did) else 0.5, 1e-6, 1 - 1e-6))
        user_columns[f"past_rate_{label}"] = log_odds(np.minimum(c, n), n, overall)
        n, c = (np.bincount(of, minlength=len(works)) for of in (work, work[did]))
        work_columns[f"past_rate_{label}"] = log_odds(c, n, overall)
    return Past(done[0], done[1], user_columns, work_columns)


def _owners(relation: Relation) -> Array:
    """(V,) int64: the row that each value belongs to."""
    return np.repeat(np.arange(len(relation)), np.diff(relation.indptr))


def _log_counts(counts: Sequence[Array]) -> dict[str, Array]:
    names = ("past_log_exposed", *(f"past_log_{label}" for label in LABELS))
    return {name: np.log1p(count).astype(np.float32) for name, count in zip(names, counts, strict=True)}
