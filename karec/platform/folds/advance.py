"""Time passes: the snapshot after more exposures.

A row counts when ``snapshot.time_ms ≤ time < until_ms``: earlier rows are in the snapshot already. Hence
``advance(advance(s, e, t1), e, t2)`` is ``advance(s, e, t2)``, and nothing at or after ``until_ms`` is ever seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from karec.platform.events import Exposures
from karec.platform.relations import Relation
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array


def advance(snapshot: Snapshot, exposures: Exposures, until_ms: int, keep: int = 50) -> Snapshot:
    """``snapshot`` as of ``until_ms``, told what ``exposures`` (in order of time) say happened before it.

    Relations, per user: ``history`` grows by works clicked or viewed long, ``skipped`` by works that were neither
    (the last ``keep`` of both are kept, repeats included); ``liked`` by works liked, ``follows`` by the creators of
    works where ``follow`` is set (a work or creator stands once, at its first moment). Counters ``count_exposed`` and
    ``count_<label>`` (float32) of works and users grow for every label of the exposures, and so do those of ``visits``,
    by user and scene, where the snapshot names scenes; an exposure in a scene that it does not name counts in none.
    Other relations and columns stay. O((M + R) log(M + R)) for M new rows and R entries of relations.

    Raises ValueError when ``until_ms`` is before the snapshot, rows are not in order of time, labels lack both
    click and long_view, or a row names a user or work that the snapshot does not hold.
    """
    if until_ms < snapshot.time_ms:
        raise ValueError(f"until_ms {until_ms} is before the snapshot's time_ms {snapshot.time_ms}")
    if keep <= 0:
        raise ValueError(f"keep must be positive, got {keep}")
    if not {"click", "long_view"} & set(exposures.labels):
        raise ValueError(f"exposures need the label click or long_view, they have {list(exposures.labels)}")
    early = np.flatnonzero(np.diff(exposures.time_ms) < 0)
    if len(early):
        raise ValueError(f"exposures must be in order of time; row {int(early[0]) + 1} is earlier than the one before")
    start, stop = np.searchsorted(exposures.time_ms, [snapshot.time_ms, until_ms])
    new = exposures.take(np.arange(start, stop))
    user = _rows(snapshot.users, new.user_id, "user")
    work = _rows(snapshot.works, new.work_id, "work")
    return replace(
        snapshot,
        time_ms=int(until_ms),
        works=_counted_table(snapshot.works, work, new),
        users=_counted_table(snapshot.users, user, new),
        relations={**snapshot.relations, **_grown(snapshot, new, user, work, keep)},
        visits=_visited(snapshot, user, new),
    )


def _rows(table: Table, ids: Array, what: str) -> Array:
    rows = table.lookup(ids)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        at = int(unknown[0])
        raise ValueError(f"exposure {at} names {what} {int(ids[at])}, which the snapshot does not hold")
    return rows


def _counted_table(table: Table, rows: Array, new: Exposures) -> Table:
    return replace(table, columns=_counted(table.columns, len(table), rows, new))


def _counted(columns: Mapping[str, Array], n_rows: int, rows: Array, new: Exposures) -> dict[str, Array]:
    """``columns (n_rows,)`` with counters grown at ``rows (M,)`` by the M new exposures."""
    grown = dict(columns)
    for name, label in (("count_exposed", None), *((f"count_{task}", label) for task, label in new.labels.items())):
        more = np.bincount(rows, weights=label, minlength=n_rows)
        grown[name] = (grown.get(name, 0.0) + more).astype(np.float32)
    return grown


def _visited(snapshot: Snapshot, user: Array, new: Exposures) -> dict[str, Array] | None:
    if not snapshot.n_scenes:
        return None
    rows = snapshot.visit_rows(user, new.scene)
    named = rows >= 0
    return _counted(snapshot.visits or {}, len(snapshot.users) * snapshot.n_scenes, rows[named], new.take(named))


def _grown(snapshot: Snapshot, new: Exposures, user: Array, work: Array, keep: int) -> dict[str, Relation]:
    zero = np.zeros(len(new), bool)
    said = {
        task: new.labels[task] > 0 if task in new.labels else zero for task in ("click", "long_view", "like", "follow")
    }
    enjoyed = said["click"] | said["long_view"]
    creator = snapshot.works["creator_id"][work]
    grown = {}
    for name, mask, values, limit in (
        ("history", enjoyed, new.work_id, keep),
        ("skipped", ~enjoyed, new.work_id, keep),
        ("liked", said["like"], new.work_id, None),
        ("follows", said["follow"], creator, None),
    ):
        old = snapshot.relations.get(name)
        grown[name] = _append(old, len(snapshot.users), user[mask], values[mask], new.time_ms[mask], limit)
    return grown


def _append(old: Relation | None, n_rows: int, rows: Array, values: Array, times: Array, limit: int | None) -> Relation:
    """``old`` with new (row, value) pairs behind it; of each row the last ``limit``, or each value once."""
    if old is not None:
        before = np.zeros(len(old.values), np.int64) if old.times is None else old.times
        rows = np.concatenate([np.repeat(np.arange(n_rows), np.diff(old.indptr)), rows])
        values = np.concatenate([old.values, values])
        times = np.concatenate([before, times])
    order = np.argsort(rows, kind="stable")
    rows, values, times = rows[order], np.asarray(values, np.int64)[order], times[order]
    if limit is None:
        kept = _first(rows, values)
    else:
        ends = np.searchsorted(rows, rows, side="right")
        kept = ends - np.arange(len(rows)) <= limit
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows[kept], minlength=n_rows), out=indptr[1:])
    return Relation(indptr, values[kept], times[kept])


def _first(rows: Array, values: Array) -> Array:
    """(M,) bool: where a (row, value) pair stands for the first time."""
    order = np.lexsort((values, rows))
    again = np.zeros(len(rows), bool)
    again[1:] = (rows[order][1:] == rows[order][:-1]) & (values[order][1:] == values[order][:-1])
    first = np.empty(len(rows), bool)
    first[order] = ~again
    return first
