"""Lists arranged under rules, as ``native/src/rules/arrange.cpp`` does it; definition and cost in
arrange.hpp.

Iterative deepening on the excess, depth first over the remaining items in order; of items with the same marks
that fit the same slots the first remaining one alone is tried. Plain Python: lists are short.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from karec.kernels.portable.arrange_slots import Slots
from karec.kernels.portable.arrays import Int64, bool_input, int64_input

LOOKS = 20_000  # items looked at before the search is given up
NONE = -1
Bools = NDArray[np.bool_]
Marks = tuple[Int64, Int64, Int64, int, int]


def arrange(
    n: int, rules: Sequence[Marks], slots: Sequence[tuple[int, Bools | None]], only: Bools | None, k: int
) -> tuple[Int64, list[tuple[int, int, int]], bool]:
    """``karec._native.arrange``: (indices, [(place, rule, excess) of each violation], whether the search was
    whole)."""
    _check(n, rules, slots, only, k)
    marks = [_Marks(*rule, k) for rule in rules]
    arrangement = _Arrangement(n, marks, Slots(n, slots, only, k))
    whole = arrangement.run()
    indices = np.full(k, -1, np.int64)
    indices[: len(arrangement.chosen)] = arrangement.chosen
    arrangement.empty()
    return indices, _violations(indices.tolist(), marks, slots), whole


def _check(
    n: int, rules: Sequence[Marks], slots: Sequence[tuple[int, Bools | None]], only: Bools | None, k: int
) -> None:
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    for number, (puts, looks, shown, window, allowed) in enumerate(rules):
        for name, values, expected in (
            ("puts", puts, (n,)),
            ("looks", looks, (n,)),
            ("shown", shown, ("M",)),
        ):
            int64_input(values, name, expected)
        if allowed < 0:
            raise ValueError(f"allowed must be at least 0, got {allowed}")
        if window < 1:
            raise ValueError(f"window must be positive, got {window}")
        if window < 2:
            raise ValueError(f"rule {number} has a window below 2")
    taken: set[int] = set()
    for number, (place, _) in enumerate(slots):
        if place < 0:
            raise ValueError(f"a slot is at place {place}")
        if place >= k:
            raise ValueError(f"slot {number} is at place {place} of {k}")
        if place in taken:
            raise ValueError(f"two slots are at place {place}")
        taken.add(place)
    for name, members in (*(("fits", fits) for _, fits in slots), ("only", only)):
        if members is not None:
            bool_input(members, name, (n,))


def _violations(
    indices: Sequence[int], marks: Sequence[_Marks], slots: Sequence[tuple[int, Bools | None]]
) -> list[tuple[int, int, int]]:
    fits_at = {
        place: (len(marks) + number, fits) for number, (place, fits) in enumerate(slots) if fits is not None
    }
    found = []
    for place, item in enumerate(indices):
        if item >= 0:
            for number, rule in enumerate(marks):
                excess = rule.excess_at(place, item)
                if excess > 0:
                    found.append((place, number, excess))
                rule.put(place, item)
        if place in fits_at and (item < 0 or not fits_at[place][1][item]):
            found.append((place, fits_at[place][0], 1))
    return found


class _Marks:
    """One rule: what each item puts and looks for, and where marks stand so far; places count from the first
    shown."""

    def __init__(self, puts: Int64, looks: Int64, shown: Int64, window: int, allowed: int, k: int) -> None:
        self.window, self.allowed, self.n_shown = min(window, len(shown) + k + 1), allowed, len(shown)
        marks, counts = np.unique(np.concatenate([puts[puts >= 0], shown[shown >= 0]]), return_counts=True)
        n_marks = dict(zip(marks.tolist(), counts.tolist(), strict=True))
        self.places: dict[int, list[int]] = {mark: [] for mark in n_marks}
        for place, mark in enumerate(shown.tolist()):
            if mark in self.places:
                self.places[mark].append(place)
        self.puts, self.looks = puts.tolist(), looks.tolist()
        n_looks = dict.fromkeys(n_marks, 0)
        for item, mark in enumerate(self.looks):
            if mark < 0 or n_marks.get(mark, 0) - (self.puts[item] == mark) <= allowed:
                self.looks[item] = NONE  # it can never find more than is allowed
            else:
                n_looks[mark] += 1
        for item, mark in enumerate(self.puts):
            if mark < 0 or n_looks[mark] - (self.looks[item] == mark) == 0:
                self.puts[item] = NONE  # no other item looks for it

    def excess_at(self, place: int, item: int) -> int:
        if self.looks[item] == NONE:
            return 0
        found = 0
        for at in reversed(self.places[self.looks[item]]):
            if at + self.window <= place + self.n_shown:
                break
            found += 1
        return max(0, found - self.allowed)

    def put(self, place: int, item: int) -> None:
        if self.puts[item] != NONE:
            self.places[self.puts[item]].append(place + self.n_shown)

    def take_back(self, item: int) -> None:
        if self.puts[item] != NONE:
            self.places[self.puts[item]].pop()


class _Arrangement:
    def __init__(self, n: int, marks: Sequence[_Marks], slots: Slots) -> None:
        self.n, self.marks, self.slots = n, marks, slots
        self.chosen = [NONE] * slots.n_places
        self.used = [False] * n
        kinds: dict[tuple[int, ...], int] = {}
        self.kind = []
        self.members: list[list[int]] = []
        for item in range(n):
            traits = (
                *(mark for rule in marks for mark in (rule.puts[item], rule.looks[item])),
                *slots.traits(item),
            )
            kind = kinds.setdefault(traits, len(self.members))
            if kind == len(self.members):
                self.members.append([])
            self.kind.append(kind)
            self.members[kind].append(item)
        self.n_taken = [0] * len(self.members)
        self.n_looks = 0
        self.cut: list[int] = []  # the least excess that the bound cut off, or nothing

    def run(self) -> bool:
        """Fills ``chosen``; whether the search was whole."""
        bound = 0
        while True:
            self.cut = []
            found = self._search(bound)
            if found:
                return True
            if found is None or not self.cut:
                break
            bound = self.cut[0]
        self._greedy()
        return False

    def empty(self) -> None:
        for place in reversed(range(len(self.chosen))):
            self._take_back(place)

    def _search(self, bound: int) -> bool | None:
        """Whether there is a list within the bound; None: given up."""
        nodes = [_Node(0, 0)]
        while len(nodes) <= len(self.chosen):
            place = len(nodes) - 1
            after = self._step(place, nodes[-1], bound)
            if after is not None:
                nodes.append(after)
                continue
            if self.n_looks > LOOKS:
                for filled in reversed(range(place)):
                    self._take_back(filled)
                return None
            nodes.pop()
            if not nodes:
                return False
            self._take_back(place - 1)
        return True

    def _step(self, place: int, node: _Node, bound: int) -> _Node | None:
        """Takes the next item that the place may have within the bounds; the node of the next place."""
        slot = self.slots.at.get(place)
        if slot is not None and self.slots.free(slot):
            if node.others:
                return None
            node.others = True
            return _Node(node.unmet, node.excess)
        while True:
            node.cursor += 1
            while node.cursor < self.n and self.used[node.cursor]:
                node.cursor += 1
            if node.cursor >= self.n:
                if slot is None or node.others or node.unmet == self.slots.n_unmet:
                    return None
                node.others, node.cursor = True, -1
                continue
            self.n_looks += 1
            if self.n_looks > LOOKS:
                return None
            item = node.cursor
            kind = self.kind[item]
            if self.members[kind][self.n_taken[kind]] != item or not self._may(slot, item, node.others):
                continue
            excess = node.excess + self._excess_at(place, item)
            if excess > bound:
                self.cut = [min(excess, *self.cut)] if self.cut else [excess]
                continue
            self._take(place, item)
            return _Node(node.unmet + node.others, excess)

    def _may(self, slot: int | None, item: int, others: bool) -> bool:
        fits = slot is not None and self.slots.fits(slot, item)
        return (not fits and not self.slots.only(item)) if slot is None or others else fits

    def _greedy(self) -> None:
        """Slots keep the items that they were matched with."""
        kept = {item for item in self.slots.item_of if item != NONE}
        for place in range(len(self.chosen)):
            slot = self.slots.at.get(place)
            if slot is not None and self.slots.free(slot):
                continue
            own = NONE if slot is None else self.slots.item_of[slot]
            chosen, least = NONE, None
            for item in range(self.n):
                if (
                    self.used[item]
                    or (item in kept and item != own)
                    or not self._may_greedily(slot, own, item)
                ):
                    continue
                excess = self._excess_at(place, item)
                if least is None or excess < least:
                    chosen, least = item, excess
                    if excess == 0:
                        break
            kept.discard(own)
            self._take(place, chosen)

    def _may_greedily(self, slot: int | None, own: int, item: int) -> bool:
        if slot is None or own == NONE:
            return not self.slots.only(item)
        return self.slots.fits(slot, item) and (self.slots.only(item) or not self.slots.only(own))

    def _excess_at(self, place: int, item: int) -> int:
        return sum(rule.excess_at(place, item) for rule in self.marks)

    def _take(self, place: int, item: int) -> None:
        self.chosen[place] = item
        self.used[item] = True
        self.n_taken[self.kind[item]] += 1
        for rule in self.marks:
            rule.put(place, item)

    def _take_back(self, place: int) -> None:
        item = self.chosen[place]
        if item == NONE:
            return
        for rule in self.marks:
            rule.take_back(item)
        self.used[item] = False
        self.n_taken[self.kind[item]] -= 1


class _Node:
    """What a place has tried: items up to ``cursor``; with ``others``, of those that do not fit its slot."""

    def __init__(self, unmet: int, excess: int) -> None:
        self.unmet, self.excess, self.cursor, self.others = unmet, excess, -1, False
