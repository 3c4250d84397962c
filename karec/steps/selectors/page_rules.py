"""Selector that applies the hard rules of a page: rules on neighbours, reserved positions, boosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from karec.diversity import WHOLE_SESSION, Arrangement, NeighbourRule, Slot, arrange
from karec.index import IndexSchema
from karec.pipeline.step import BrokenRules, Selector
from karec.pipeline.trace import RELAXED
from karec.pipeline.types import Array, Candidates, IdNames, Request, Selection
from karec.steps.shared.page_rules import Boosts, Position, Rule, check_together

NONE = -1  # label of an item without a rule


class PageRules(Selector):
    """The first ``k`` candidates, in their order changed as little as the rules of the page need.

    First, ``boosts`` move items up. Then the step takes the order with the fewest unfilled ``places``, of
    these the one that breaks the first of ``rules`` least, then the second, and so on; of these the first
    (``karec.diversity.arrange``). The notes count and name broken rules, unfilled positions and free
    positions. A request with ``explain`` finds the order before and after in the notes.

    If the candidates cannot keep the rules, or are too few, the step runs again with the items that the stage
    before left out, behind them (``karec.pipeline.stage.Stage.run``).

    Settings:
        rules: limits on neighbours with equal values.
        places: reserved positions.
        boosts: items that move up, with limits.
        k: maximum number of items. Absent: the request's k.
    """

    needs = ("rows",)
    is_rule = True
    keeps_rules = True

    def __init__(
        self,
        schema: IndexSchema,
        rules: Sequence[Rule] = (),
        places: Sequence[Position] = (),
        boosts: Boosts | None = None,
        k: int | None = None,
        naming: IdNames | None = None,
    ) -> None:
        if k is not None and k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        self.schema = schema
        self.k = k
        self.rules, self.places, self.boosts = tuple(rules), tuple(places), boosts
        self.free_places = frozenset(at - 1 for place in places if place.is_free for at in place.places)
        check_together(self.rules, self.places)
        self.pinned = {place.work: _number(place.work, naming) for place in places if place.work is not None}
        for column in self._columns():
            schema.check_column(column, is_integer=True)

    def _columns(self) -> list[str]:
        boosts = () if self.boosts is None else self.boosts.works
        columns = [rule.column for rule in self.rules] + [boost.column for boost in boosts]
        columns += [place.column for place in self.places if place.column is not None]
        return list(dict.fromkeys(columns))

    def select(self, request: Request, candidates: Candidates) -> Selection:
        k = request.k if self.k is None else self.k
        shown_rows = request.index.lookup(np.array(request.shown, np.int64))
        rows = np.concatenate([shown_rows, candidates.rows])
        values = {column: _values(request, column, rows) for column in self._columns()}
        item_values = {column: array[len(shown_rows) :] for column, array in values.items()}
        lifts = self._lifts(item_values, len(candidates), k)
        order = np.lexsort((-lifts, np.arange(len(candidates)) - lifts))
        rules, rule_sources = self._native_rules(values, order, len(shown_rows))
        slots = [(at - 1, place) for place in self.places for at in place.places if at <= k]
        native_slots = [
            Slot(at, None if place.is_free else self._fits(place, candidates, item_values)[order])
            for at, place in slots
        ]
        is_slot_only = np.zeros(len(order), bool)
        for place in self.places:
            if place.only:
                is_slot_only |= self._fits(place, candidates, item_values)[order]
        arrangement = arrange(len(order), rules, k, slots=native_slots, is_slot_only=is_slot_only)
        selected_indices = order[arrangement.indices[arrangement.indices >= 0]]
        notes = self._notes(arrangement, rule_sources, slots)
        if request.explain:
            notes["explanation"] = self._explanation(
                arrangement, order, selected_indices, candidates, lifts, notes
            )
        return Selection(selected_indices, None, notes)

    def rule_checks(self, request: Request, candidates: Candidates) -> BrokenRules:
        """Returns a function that finds the broken rules at the next place. Boosts do not count as rules.

        An item that a later reserved position needs breaks the rule of that position at each earlier place.
        """
        k = request.k if self.k is None else self.k
        shown_rows = request.index.lookup(np.array(request.shown, np.int64))
        rows = np.concatenate([shown_rows, candidates.rows])
        values = {column: _values(request, column, rows) for column in self._columns()}
        item_values = {column: array[len(shown_rows) :] for column, array in values.items()}
        native_rules, sources = self._native_rules(values, np.arange(len(candidates)), len(shown_rows))
        places = [place for place in self.places if not place.is_free]
        members = [self._fits(place, candidates, item_values) for place in places]

        def find_broken(page: Sequence[int]) -> dict[str, Array]:
            before = np.array(page, np.int64)
            is_left = np.ones(len(candidates), bool)
            is_left[before[before >= 0]] = False
            broken: dict[str, Array] = {}
            fits_here = np.zeros(len(candidates), bool)
            for place, is_member in zip(places, members, strict=True):
                if len(page) + 1 in place.places and (is_member & is_left).any():
                    fits_here |= is_member
                    broken[str(place)] = ~is_member
            for place, is_member in zip(places, members, strict=True):
                n_later = sum(len(page) + 1 < at <= k for at in place.places)
                if place.only or n_later >= np.count_nonzero(is_member & is_left):
                    broken[f"{place}, later"] = is_member & ~fits_here
            for rule, source in zip(native_rules, sources, strict=True):
                name = str(source)
                labels = np.concatenate([rule.shown, np.where(before < 0, NONE, rule.labels[before])])
                window = labels[max(len(labels) - rule.window + 1, 0) :]
                n_conflicts = np.count_nonzero(window[:, None] == rule.conflicts, axis=0)
                is_broken = (rule.conflicts >= 0) & (n_conflicts > rule.max_conflicts)
                broken[name] = broken[name] | is_broken if name in broken else is_broken
            return broken

        return find_broken

    def _lifts(self, values: dict[str, Array], n: int, k: int) -> Array:
        """Returns (n,) int64: the number of positions by which each item moves up."""
        lifts = np.zeros(n, np.int64)
        if self.boosts is None:
            return lifts
        for boost in self.boosts.works:
            lifts += np.where(np.isin(values[boost.column], boost.values), boost.places, 0)
        lifts = np.minimum(np.minimum(lifts, self.boosts.most_places), np.arange(n))
        aims = np.arange(n) - lifts
        new_order = np.lexsort((-lifts, aims))
        moved = new_order[(lifts[new_order] > 0) & (aims[new_order] < k)]
        lifts[np.setdiff1d(np.arange(n), moved[: self.boosts.at_most])] = 0
        return lifts

    def _native_rules(
        self, values: dict[str, Array], order: Array, n_shown: int
    ) -> tuple[list[NeighbourRule], list[Rule]]:
        """Returns the native rules for items in ``order``, and the configured rule of each."""
        native_rules, sources = [], []
        for rule in self.rules:
            column = values[rule.column]
            window = WHOLE_SESSION if isinstance(rule.window, str) else rule.window
            for labels, conflicts in _pairs(rule, column):
                item_labels = labels[n_shown:][order], conflicts[n_shown:][order]
                native_rules.append(
                    NeighbourRule(*item_labels, labels[:n_shown], window, 0 if rule.apart else rule.count - 1)
                )
                sources.append(rule)
        return native_rules, sources

    def _fits(self, place: Position, candidates: Candidates, values: dict[str, Array]) -> Array:
        if place.work is not None:
            return np.asarray(candidates.ids == self.pinned[place.work])
        return np.asarray(np.isin(values[str(place.column)], place.values) & (candidates.rows >= 0))

    def _notes(
        self, arrangement: Arrangement, rule_sources: list[Rule], slots: list[tuple[int, Position]]
    ) -> dict[str, Any]:
        """Returns values for the trace. Positions count from 1."""
        notes: dict[str, Any] = {"violations": len(arrangement.violations) + len(arrangement.unmet_slots)}
        broken = [
            f"place {at + 1}: {rule_sources[rule]} (+{excess})" for at, rule, excess in arrangement.violations
        ]
        broken += [
            f"place {slots[slot][0] + 1}: {str(slots[slot][1]).partition(': ')[2]} is missing"
            for slot in arrangement.unmet_slots
        ]
        if broken:
            notes["broken"] = broken
            notes[RELAXED] = [
                *dict.fromkeys(str(rule_sources[rule]) for _, rule, _ in arrangement.violations)
            ]
            notes[RELAXED] += [f"{slots[slot][1]} is missing" for slot in arrangement.unmet_slots]
        free = [at + 1 for at, place in slots if place.is_free]
        if free:
            notes["free"] = sorted(free)
        if not arrangement.is_exact:
            notes["search"] = "given up"
        return notes

    def _explanation(
        self,
        arrangement: Arrangement,
        order: Array,
        selected_indices: Array,
        candidates: Candidates,
        lifts: Array,
        notes: dict[str, Any],
    ) -> dict[str, Any]:
        """Returns values for the trace.

        ``before``: the ids of the page without the step. ``arranged``: the items of the page with their
        ``place``, the place where they ``was``, the positions by which they were ``lifted``, and the
        ``owner`` of the place.
        """
        owners = {at: str(place).partition(": ")[2] for place in self.places for at in place.places}
        places = np.flatnonzero(arrangement.indices >= 0) + 1
        page_items = [
            {
                "id": int(candidates.ids[at]),
                "place": place,
                "was": int(at) + 1,
                "lifted": int(lifts[at]),
                "owner": owners.get(place),
            }
            for at, place in zip(selected_indices.tolist(), places.tolist(), strict=True)
        ]
        ids_before = candidates.ids[: len(selected_indices)].tolist()
        return {"before": ids_before, "arranged": page_items, "broken": notes.get("broken", [])}


def _number(work: int | str, naming: IdNames | None) -> int:
    if naming is not None:
        return naming.number_of(work)
    if isinstance(work, str):
        raise ValueError(f"work = {work!r}: ids of this bundle are integers, expected an integer")
    return work


def _values(request: Request, column: str, rows: Array) -> Array:
    """Returns (N,) int64 values of the column; negative for a missing value and an item without a row."""
    values = request.index.gather(column, rows).astype(np.int64)
    return np.where(rows < 0, NONE, values)


def _pairs(rule: Rule, values: Array) -> list[tuple[Array, Array]]:
    """Returns (labels, conflicts) of each item, a pair for each native rule."""
    if rule.apart:
        return [_apart(values, a, b) for a, b in rule.apart]
    labels = np.where(np.isin(values, rule.values), values, NONE) if rule.values else values
    return [(labels, labels)]


def _apart(values: Array, a: int, b: int) -> tuple[Array, Array]:
    """Returns labels 0 and 1 for items of ``a`` and ``b``; each conflicts with the other.

    ``a`` = ``b``: items of this value conflict with each other.
    """
    labels = np.where(values == a, 0, np.where(values == b, 1, NONE))
    return labels, labels if a == b else np.where(labels == NONE, NONE, 1 - labels)
