"""Works as they are now, beside the base: those that came, changed and went, and counters that events moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from karec.platform.event_log.events import BLOCK, NONE
from karec.platform.folds.lives import ADJUSTED, ID, NEVER, Life, Value
from karec.platform.schema import CREATOR, LATEST_MS, PUBLISHED, is_counter
from karec.platform.snapshot import Snapshot
from karec.platform.state.lives import Lives
from karec.platform.table import Table
from karec.types import Array

NumberOf = Callable[[str, str], int]
"""(column, text) → the number of a category's value; −1 for one that nobody knows."""
Refuse = Callable[[Mapping[str, Value], int], str]
"""(an upload's columns, the work's number) → why it is not taken; "" where it is."""


@dataclass(frozen=True, eq=False)
class LiveWorks:
    """One moment of works, which never changes: a request reads one from its first step to its last.

    added    works that came or changed since the base, as a snapshot of works alone; its columns are the base's
    came     those of them that the base lacks
    gone     (G,) int64 ascending: works that were deleted or blocked
    ids      (K,) int64 ascending: works that events counted for, with their ``counters (K, C) float32``
    batches  how many batches of events made it
    """

    added: Snapshot
    came: Snapshot
    gone: Array
    ids: Array
    counters: Array
    batches: int = 0

    @classmethod
    def none(cls, base: Snapshot, n_counters: int) -> LiveWorks:
        nothing = np.empty(0, np.int64)
        nobody = _snapshot_of(base, base.works.take(nothing))
        return cls(nobody, nobody, nothing, nothing, np.empty((0, n_counters), np.float32))

    def rows(self, base: Snapshot, ids: Array) -> Array:
        """(N,) int64 of works: rows of ``base``, len(base.works) + row of ``added``, −1 for one that is in neither."""
        rows = base.works.lookup(ids)
        if len(self.added.works):
            here = self.added.works.lookup(ids)
            rows = np.where(here >= 0, len(base.works) + here, rows)
        return rows

    def moved(self, ids: Array) -> tuple[Array, Array]:
        """(places in ``ids (N,)`` of works that events counted for, their counters (M, C)). O(N log K)."""
        if not len(self.ids):
            return np.empty(0, np.int64), self.counters
        here = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found = np.flatnonzero(self.ids[here] == ids)
        return found, self.counters[here[found]]

    def with_counters(self, ids: Array, counters: Array) -> LiveWorks:
        """The same with the ``counters (M, C)`` of ``ids (M,)``, ascending and unique. O(K + M)."""
        at, table, known = np.searchsorted(self.ids, ids), self.counters.copy(), np.zeros(len(ids), bool)
        within = np.flatnonzero(at < len(self.ids))
        known[within] = self.ids[at[within]] == ids[within]
        table[at[known]] = counters[known]
        new = np.flatnonzero(~known)
        if not len(new):
            return replace(self, counters=table, batches=self.batches + 1)
        both = np.insert(self.ids, at[new], ids[new]), np.insert(table, at[new], counters[new], axis=0)
        return replace(self, ids=both[0], counters=both[1], batches=self.batches + 1)


@dataclass(frozen=True, eq=False)
class Changed:
    """What an index must take over: works to put in, by their rows in ``added``, each with the moment ``time_ms`` of
    its newest upload or edit; works to hide, and those that were hidden and are not any more. ``names`` {work: its id
    on the platform}, where it says one. ``adjusted`` {"scale" or "offset": {work: the newest}}.
    """

    rows: Array
    time_ms: Array
    hidden: Array
    back: Array
    names: Mapping[int, int | str]
    adjusted: Mapping[str, Mapping[int, float]]


class WorksSince:
    """Keeps ``added`` and ``gone`` as lives change. One thread calls it. ``counts``: uploads that were not taken, by
    reason.

    A work is added when its newest word is an upload that ``refuse`` takes and the base lacks it; one that ``refuse``
    does not take any more, after an edit, is hidden. A work of the base that was edited since is added too, and stands
    for itself. What lives say of columns that the base lacks is passed over; what they lack is missing.
    """

    def __init__(self, base: Snapshot, number_of: NumberOf, refuse: Refuse) -> None:
        self.base, self._number_of, self._refuse = base, number_of, refuse
        self.lives = Lives()
        self.table = base.works.take(np.empty(0, np.int64))
        self.gone: set[int] = set()
        self.counts: Counter[str] = Counter()

    def step(self, newer: Lives) -> Changed:
        """After the lives of some works and creators changed. O(these + works added)."""
        creators = [c for c, word in newer.creators.items() if self.lives.creators.get(c) != word]
        self.lives = self.lives.with_newer(newer)
        touched = {*newer.works}
        if creators and CREATOR in self.base.works.columns:
            for table in (self.base.works, self.table):
                touched.update(table.ids[np.isin(table[CREATOR], np.array(creators, np.int64))].tolist())
            touched.update(work for work in self.gone if self._said_maker(work) in creators)
        works = np.array(sorted(touched), np.int64)
        there = {*works[np.isin(works, self.table.ids)].tolist()}
        in_base = dict(zip(works.tolist(), self.base.works.lookup(works).tolist(), strict=True))
        ids, rows, hidden = list[int](), list[dict[str, Any]](), list[int]()
        for work in works.tolist():
            life = self.lives.works.get(work, Life())
            values = self._values(work, life, in_base[work])
            if life.gone or self._is_blocked(values, in_base[work]):
                hidden.append(work)
            elif values is not None:
                ids.append(work)
                rows.append(values)
            elif in_base[work] < 0 and work in there:
                hidden.append(work)
        back = np.array(sorted((self.gone & {*works.tolist()}) - {*hidden}), np.int64)
        self.gone = (self.gone - {*works.tolist()}) | {*hidden}
        said = {work: self.lives.works[work].columns.get(ID, (NEVER, None))[1] for work in ids if work in newer.works}
        names = {work: name for work, name in said.items() if isinstance(name, int | str)}
        adjusted = {
            name: {work: _factor(life, name) for work, life in newer.works.items() if name in life.adjusted}
            for name in ADJUSTED
        }
        others = ~np.isin(self.table.ids, works)
        if not ids and others.all():
            nothing = np.empty(0, np.int64)
            return Changed(nothing, nothing, np.array(hidden, np.int64), back, names, adjusted)
        columns = {
            name: np.append(self.table[name][others], _cells([row.get(name) for row in rows], name, column.dtype))
            for name, column in self.base.works.columns.items()
        }
        self.table = Table(np.concatenate([self.table.ids[others], np.array(ids, np.int64)]), columns)
        rows_put = np.arange(len(self.table) - len(ids), len(self.table))
        return Changed(rows_put, self._said_ms(rows_put), np.array(hidden, np.int64), back, names, adjusted)

    def edited(self) -> Changed:
        """The works of the base that are added, to be put in once more."""
        nothing, rows = np.empty(0, np.int64), np.flatnonzero(self.base.works.lookup(self.table.ids) >= 0)
        return Changed(rows, self._said_ms(rows), nothing, nothing, {}, {})

    def _said_ms(self, rows: Array) -> Array:
        """(M,) the newest upload or edit of the works in these rows."""
        return np.array([self.lives.works[work].said_ms for work in self.table.ids[rows].tolist()], np.int64)

    def over(self, works: LiveWorks) -> LiveWorks:
        """``works`` with what is here now."""
        gone = np.array(sorted(self.gone), np.int64)
        if works.added.works is self.table:
            return replace(works, gone=gone, batches=works.batches + 1)
        added = _snapshot_of(self.base, self.table)
        new = self.base.works.lookup(self.table.ids) < 0
        came = added if new.all() else _snapshot_of(self.base, self.table.take(new))
        return replace(works, added=added, came=came, gone=gone, batches=works.batches + 1)

    def _values(self, work: int, life: Life, row: int) -> dict[str, Any] | None:
        """The cells of a work; None where it is not added: of the base and not edited, unknown, not taken."""
        if row >= 0:
            edited = life.values(self.base.time_ms)
            if not edited:
                return None
            own = {name: column[row].item() for name, column in self.base.works.columns.items()}
            return {**own, **self._numbered(edited)}
        if life.uploaded_ms is None:
            self.counts["edit of an unknown work"] += life.there is None and bool(life.columns)
            return None
        values = life.values()
        why = self._refuse(values, work)
        if why:
            self.counts[why] += 1
            return None
        return {PUBLISHED: life.uploaded_ms, **self._numbered(values)}

    def _numbered(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Texts as numbers, where the base's column holds numbers. Counters are counted, and not said."""
        found = {}
        for name, value in values.items():
            if name in self.base.works.columns and not is_counter(name):
                names = self.base.labels.get(name, ())
                found[name] = value
                if isinstance(value, str):
                    found[name] = names.index(value) if value in names else self._number_of(name, value)
        return found

    def _is_blocked(self, values: Mapping[str, Any] | None, row: int) -> bool:
        """Whether all works of its creator are blocked."""
        if CREATOR not in self.base.works.columns:
            return False
        maker = (values or {}).get(CREATOR)
        if maker is None and row >= 0:
            maker = self.base.works[CREATOR][row].item()
        word = self.lives.creators.get(self._maker(maker))
        return word is not None and word[1] == BLOCK

    def _said_maker(self, work: int) -> int:
        """Who made a work, as its life says."""
        said = self.lives.works.get(work, Life()).columns.get(CREATOR, (NEVER, None))[1]
        return self._maker(self._numbered({CREATOR: said}).get(CREATOR))

    def _maker(self, value: Any) -> int:
        """A creator's number as the column has it."""
        return int(_cells([value], CREATOR, self.base.works[CREATOR].dtype)[0])


def _factor(life: Life, name: str) -> float:
    value = life.adjusted[name][1]
    assert isinstance(value, int | float)
    return float(value)


def _snapshot_of(base: Snapshot, works: Table) -> Snapshot:
    """Works alone: no users, no lists."""
    nobody = base.users.take(np.empty(0, np.int64))
    return Snapshot(base.time_ms, works, nobody, {}, base.labels, None, base.meaning)


def _cells(values: list[Any], name: str, dtype: np.dtype[Any]) -> Array:
    """(N,) of a column; what is missing, or does not fit the dtype, is missing there too."""
    if is_counter(name):
        return np.array([0 if value is None else value for value in values], dtype)
    if dtype.kind == "b":
        return np.array([bool(value) for value in values], dtype)
    least, most = _bounds(name, dtype)
    if dtype.kind == "f":
        fits = (isinstance(value, int | float) and abs(value) <= most for value in values)
        return np.array([value if fit else np.nan for value, fit in zip(values, fits, strict=True)], dtype)
    missing = max(NONE, least)
    fits = (isinstance(value, int | float) and least <= value <= most and value == int(value) for value in values)
    return np.array([int(value) if fit else missing for value, fit in zip(values, fits, strict=True)], dtype)


@cache
def _bounds(name: str, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the most that a cell of the column holds."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    return int(info.min), min(int(info.max), LATEST_MS) if name.endswith("_ms") else int(info.max)
