"""What became of works since a base was made: kept up as lives change, and handed over to the next base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import BLOCK
from karec.catalog.schema import CREATOR, PUBLISHED, is_counter
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.online.cells import cells
from karec.online.changed_items import Changed, ChangedItems, snapshot_of
from karec.online.growing_table import GrowingTable
from karec.online.item_life import ADJUSTED, ID, NEVER, ItemLife, Value, Word
from karec.online.lifecycle import ItemLifecycle
from karec.online.packed_lives import ALWAYS, PackedLives

NumberOf = Callable[[str, str], int]
"""(column, text) → the number of a category's value; −1 for one that nobody knows. Two that are equal say the
same."""
Refuse = Callable[[Mapping[str, Value], int], str]
"""(an upload's columns, the work's number) → why it is not taken; "" where it is."""

NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class KnownWorks:
    """What one base's ``ItemsSince`` knew at a moment: ``lives``, and the works of ``table`` that ``came``,
    whose cells stand for any base that numbers ``like`` it.
    """

    lives: ItemLifecycle
    table: Table
    came: NDArray[Any]
    names: Mapping[int, int | str]
    like: tuple[object, ...]

    @classmethod
    def of(cls, lives: ItemLifecycle, base: Snapshot) -> Self:
        """Of lives alone."""
        return cls(lives, base.works.take(NOTHING), np.empty(0, bool), {}, ())


class ItemsSince:
    """Keeps ``added`` and ``gone`` as lives change. One thread calls it. ``counts``: uploads that were not
    taken, by reason.

    A work is added when its newest word is an upload that ``refuse`` takes and the base lacks it; one that
    ``refuse`` does not take any more, after an edit, is hidden. A work of the base that was edited since is
    added too, and stands for itself. What lives say of columns that the base lacks is passed over; what they
    lack is missing.
    """

    def __init__(self, base: Snapshot, number_of: NumberOf, refuse: Refuse) -> None:
        self.base, self._number_of, self._refuse = base, number_of, refuse
        self._lives, self._creators = PackedLives(), dict[int, Word]()
        self._growing = GrowingTable(base.works)
        self._came = np.empty(0, bool)  # of the table's works, those that the base lacks
        self._names = dict[int, int | str]()
        self._gone, self._gone_ids = set[int](), NOTHING
        self.counts: Counter[str] = Counter()

    @property
    def lives(self) -> ItemLifecycle:
        """Those that are kept up, and not a copy."""
        return ItemLifecycle(self._lives, self._creators)

    def known(self) -> KnownWorks:
        """For another base, which then need not make the same cells anew."""
        lives = ItemLifecycle(PackedLives.of(self._lives), dict(self._creators))
        return KnownWorks(lives, self._growing.table, self._came, dict(self._names), self._like())

    def begin(self, known: KnownWorks) -> Changed:
        """The first step, of all lives that ``known`` has: as ``step(known.lives)``. Works that the base has,
        and of which nothing was said since, and the rows of ``known`` that stand for this base too, cost no
        Python each.
        """
        self._lives, self._creators = PackedLives.of(known.lives.works), dict(known.lives.creators)
        works, said_ms = self._lives.moments()
        in_base, at = self.base.works.lookup(works) >= 0, known.table.lookup(works)
        # where it is, columns are ours
        kept = (at >= 0) & ~in_base & (said_ms < ALWAYS) & (known.like == self._like())
        kept[kept] = known.came[at[kept]]
        barred = np.array([creator for creator, word in self._creators.items() if word[1] == BLOCK], np.int64)
        touched = NOTHING
        if len(barred) and CREATOR in self.base.works.columns:
            if kept.any():
                kept[kept] = ~np.isin(known.table[CREATOR][at[kept]], barred)
            touched = self.base.works.ids[np.isin(self.base.works[CREATOR], barred)]
        others = works[~kept & ~(in_base & (said_ms < self.base.time_ms))]
        rows = at[kept]
        if len(rows):
            self._growing.put(np.empty(0, bool), known.table.ids[rows], known.table.take(rows).columns)
        self._came = np.ones(len(rows), bool)
        taken = {work: known.names[work] for work in works[kept].tolist() if work in known.names}
        self._names |= taken
        newer = {work: self._lives[work] for work in others.tolist()}
        changed = self._stepped(np.union1d(others, touched), newer)
        return replace(
            changed,
            rows=np.concatenate([np.arange(len(rows)), changed.rows]),
            time_ms=np.concatenate([said_ms[kept], changed.time_ms]),
            names={**taken, **changed.names},
        )

    def step(self, newer: ItemLifecycle) -> Changed:
        """After the lives of some works and creators changed. O(these), and O(works added) for those that
        were added before.
        """
        creators = [c for c, word in newer.creators.items() if self._creators.get(c) != word]
        self._lives.put(newer.works)
        self._creators |= newer.creators
        touched = {*newer.works}
        if creators and CREATOR in self.base.works.columns:
            for table in (self.base.works, self._growing.table):
                touched.update(table.ids[np.isin(table[CREATOR], np.array(creators, np.int64))].tolist())
            touched.update(work for work in self._gone if self._said_maker(work) in creators)
        return self._stepped(np.array(sorted(touched), np.int64), newer.works)

    def edited(self) -> Changed:
        """The works of the base that are added, to be put in once more."""
        rows = np.flatnonzero(~self._came)
        said_ms = [self._lives[work].said_ms for work in self._growing.table.ids[rows].tolist()]
        return Changed(rows, np.array(said_ms, np.int64), NOTHING, NOTHING, {}, {})

    def over(self, works: ChangedItems) -> ChangedItems:
        """``works`` with what is here now."""
        table, gone = self._growing.table, self._gone_ids
        if works.added.works is table:
            return replace(works, gone=gone, batches=works.batches + 1)
        added = snapshot_of(self.base, table)
        came = added if self._came.all() else snapshot_of(self.base, table.take(self._came))
        return replace(works, added=added, came=came, gone=gone, batches=works.batches + 1)

    def _like(self) -> tuple[object, ...]:
        """Equal for two bases that give an upload the same cells."""
        columns = {name: column.dtype for name, column in self.base.works.columns.items()}
        labels = {name: tuple(self.base.labels.get(name, ())) for name in columns}
        return list(columns.items()), labels, self._number_of, self._refuse

    def _stepped(self, works: NDArray[Any], newer: Mapping[int, ItemLife]) -> Changed:
        """``works`` ascending as their lives say now, of which ``newer`` are at hand."""
        in_base, there = self.base.works.lookup(works), self._growing.table.lookup(works)
        ids, rows, said_ms, came, hidden = (
            list[int](),
            list[dict[str, Any]](),
            list[int](),
            list[bool](),
            list[int](),
        )
        names = dict[int, int | str]()
        for work, row, was in zip(works.tolist(), in_base.tolist(), there.tolist(), strict=True):
            life = newer[work] if work in newer else self._lives.get(work, ItemLife())
            values = self._values(work, life, row)
            if life.gone or self._is_blocked(values, row):
                hidden.append(work)
            elif values is not None:
                ids.append(work)
                rows.append(values)
                said_ms.append(life.said_ms)
                came.append(row < 0)
                name = life.columns.get(ID, (NEVER, None))[1]
                if isinstance(name, int | str):
                    names[work] = name
            elif row < 0 and was >= 0:
                hidden.append(work)
        if hidden or not self._gone.isdisjoint(works.tolist()):
            back = np.array(sorted((self._gone & {*works.tolist()}) - {*hidden}), np.int64)
            self._gone = (self._gone - {*works.tolist()}) | {*hidden}
            self._gone_ids = np.array(sorted(self._gone), np.int64)
        else:
            back = NOTHING
        adjusted = {
            name: {work: _factor(life, name) for work, life in newer.items() if name in life.adjusted}
            for name in ADJUSTED
        }
        leaves = np.zeros(len(self._came), bool)
        leaves[there[there >= 0]] = True
        if ids or leaves.any():
            columns = {
                name: cells([row.get(name) for row in rows], name, column.dtype)
                for name, column in self.base.works.columns.items()
            }
            self._growing.put(leaves, np.array(ids, np.int64), columns)
            self._came = np.concatenate([self._came[~leaves], np.array(came, bool)])
        for work in hidden:
            self._names.pop(work, None)
        self._names |= names
        rows_put = np.arange(len(self._came) - len(ids), len(self._came))
        return Changed(
            rows_put, np.array(said_ms, np.int64), np.array(hidden, np.int64), back, names, adjusted
        )

    def _values(self, work: int, life: ItemLife, row: int) -> dict[str, Any] | None:
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
        if not self._creators or CREATOR not in self.base.works.columns:
            return False
        maker = (values or {}).get(CREATOR)
        if maker is None and row >= 0:
            maker = self.base.works[CREATOR][row].item()
        word = self._creators.get(self._maker(maker))
        return word is not None and word[1] == BLOCK

    def _said_maker(self, work: int) -> int:
        """Who made a work, as its life says."""
        said = self._lives.get(work, ItemLife()).columns.get(CREATOR, (NEVER, None))[1]
        return self._maker(self._numbered({CREATOR: said}).get(CREATOR))

    def _maker(self, value: Any) -> int:
        """A creator's number as the column has it."""
        return int(cells([value], CREATOR, self.base.works[CREATOR].dtype)[0])


def _factor(life: ItemLife, name: str) -> float:
    value = life.adjusted[name][1]
    assert isinstance(value, int | float)
    return float(value)
