"""The last word on a feed's order: rules on neighbours, places that belong to works, boosts with caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from karec.diversity import WHOLE_SESSION, Arrangement, NeighbourRule, Slot, arrange
from karec.index import IndexSchema
from karec.pipeline.step import Selector
from karec.pipeline.types import Array, Candidates, IdNames, Request, Selection
from karec.steps.shared.page_rules import Boosts, Position, Rule, check_together

NONE = -1


class PageRules(Selector):
    """The first ``k`` (None = ``request.k``) of the candidates' order, changed as little as what is wanted
    needs.

    First ``boosts`` move works up. Of all lists then one is taken in which the fewest ``places`` are missed,
    of those one that breaks ``rules`` least, of those the first (``karec.diversity.arrange``). What is not
    kept is counted in the trace's notes, and named there; so are places that stay free. A request with
    ``explain`` finds before and after.
    """

    needs = ("rows",)
    is_rule = True

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
        check_together(self.rules, self.places)
        self.pinned = {place.work: _number(place.work, naming) for place in places if place.work is not None}
        for column in self._columns():
            schema.check_column(column, is_integer=True)

    def _columns(self) -> list[str]:
        boosts = () if self.boosts is None else self.boosts.works
        named = [rule.column for rule in self.rules] + [boost.column for boost in boosts]
        named += [place.column for place in self.places if place.column is not None]
        return list(dict.fromkeys(named))

    def select(self, request: Request, candidates: Candidates) -> Selection:
        k = request.k if self.k is None else self.k
        seen = request.index.lookup(np.array(request.shown, np.int64))
        rows = np.concatenate([seen, candidates.rows])
        values = {column: _values(request, column, rows) for column in self._columns()}
        of_works = {column: each[len(seen) :] for column, each in values.items()}
        lifts = self._lifts(of_works, len(candidates), k)
        order = np.lexsort((-lifts, np.arange(len(candidates)) - lifts))
        rules, whose = self._marks(values, order, len(seen))
        slots = [(at - 1, place) for place in self.places for at in place.places if at <= k]
        given = [
            Slot(at, None if place.free else self._fits(place, candidates, of_works)[order])
            for at, place in slots
        ]
        only = np.zeros(len(order), bool)
        for place in self.places:
            if place.only:
                only |= self._fits(place, candidates, of_works)[order]
        found = arrange(len(order), rules, k, slots=given, is_slot_only=only)
        chosen = order[found.indices[found.indices >= 0]]
        notes = self._notes(found, whose, slots)
        if request.explain:
            notes["explanation"] = self._explanation(found, order, chosen, candidates, lifts, notes)
        return Selection(chosen, None, notes)

    def _lifts(self, values: dict[str, Array], n: int, k: int) -> Array:
        """(n,) by how many places each work moves up."""
        lifts = np.zeros(n, np.int64)
        if self.boosts is None:
            return lifts
        for boost in self.boosts.works:
            lifts += np.where(np.isin(values[boost.column], boost.values), boost.places, 0)
        lifts = np.minimum(np.minimum(lifts, self.boosts.most_places), np.arange(n))
        aims = np.arange(n) - lifts
        first = np.lexsort((-lifts, aims))
        moved = first[(lifts[first] > 0) & (aims[first] < k)]
        lifts[np.setdiff1d(np.arange(n), moved[: self.boosts.at_most])] = 0
        return lifts

    def _marks(
        self, values: dict[str, Array], order: Array, n_seen: int
    ) -> tuple[list[NeighbourRule], list[Rule]]:
        """The rules as marks of works in ``order``, and of each the rule that it is of."""
        marks, whose = [], []
        for rule in self.rules:
            column = values[rule.column]
            window = WHOLE_SESSION if isinstance(rule.window, str) else rule.window
            for puts, looks in _pairs(rule, column):
                of_works = puts[n_seen:][order], looks[n_seen:][order]
                marks.append(
                    NeighbourRule(*of_works, puts[:n_seen], window, 0 if rule.apart else rule.count - 1)
                )
                whose.append(rule)
        return marks, whose

    def _fits(self, place: Position, candidates: Candidates, values: dict[str, Array]) -> Array:
        if place.work is not None:
            return np.asarray(candidates.ids == self.pinned[place.work])
        return np.asarray(np.isin(values[str(place.column)], place.values) & (candidates.rows >= 0))

    def _notes(
        self, found: Arrangement, whose: list[Rule], slots: list[tuple[int, Position]]
    ) -> dict[str, Any]:
        """Plain values; places count from 1."""
        notes: dict[str, Any] = {"violations": len(found.violations) + len(found.unmet_slots)}
        told = [f"place {at + 1}: {whose[rule]} (+{excess})" for at, rule, excess in found.violations]
        told += [
            f"place {slots[slot][0] + 1}: {str(slots[slot][1]).partition(': ')[2]} is missing"
            for slot in found.unmet_slots
        ]
        if told:
            notes["broken"] = told
        free = [at + 1 for at, place in slots if place.free]
        if free:
            notes["free"] = sorted(free)
        if not found.is_exact:
            notes["search"] = "given up"
        return notes

    def _explanation(
        self,
        found: Arrangement,
        order: Array,
        chosen: Array,
        candidates: Candidates,
        lifts: Array,
        notes: dict[str, Any],
    ) -> dict[str, Any]:
        """Plain values: ``before``, the ids that would stand in the list without the step, and ``arranged``,
        its works with their ``place`` now, where they ``was``, how many places they were ``lifted``, and the
        places' ``owner``.
        """
        owners = {at: str(place).partition(": ")[2] for place in self.places for at in place.places}
        places = np.flatnonzero(found.indices >= 0) + 1
        arranged = [
            {
                "id": int(candidates.ids[at]),
                "place": place,
                "was": int(at) + 1,
                "lifted": int(lifts[at]),
                "owner": owners.get(place),
            }
            for at, place in zip(chosen.tolist(), places.tolist(), strict=True)
        ]
        before = candidates.ids[: len(chosen)].tolist()
        return {"before": before, "arranged": arranged, "broken": notes.get("broken", [])}


def _number(work: int | str, naming: IdNames | None) -> int:
    if naming is not None:
        return naming.number_of(work)
    if isinstance(work, str):
        raise ValueError(
            f"work = {work!r}: works of this bundle have no texts for ids, name it by its number"
        )
    return work


def _values(request: Request, column: str, rows: Array) -> Array:
    """(N,) int64 values; where one is missing, or the index does not know the work, one below 0 that no other
    has."""
    values = request.index.gather(column, rows).astype(np.int64)
    return np.where((rows < 0) | (values < 0), -1 - np.arange(len(rows)), values)


def _pairs(rule: Rule, values: Array) -> list[tuple[Array, Array]]:
    """What each work puts and looks for, a pair for each native rule."""
    if rule.apart:
        return [_apart(values, a, b) for a, b in rule.apart]
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    if rule.values:
        codes = np.where(np.isin(values, rule.values), codes, NONE)
    return [(codes, codes)]


def _apart(values: Array, a: int, b: int) -> tuple[Array, Array]:
    """Marks 0 and 1 for ``a`` and ``b``; each looks for the other one. ``a`` = ``b``: works of one value."""
    puts = np.where(values == a, 0, np.where(values == b, 1, NONE))
    return puts, puts if a == b else np.where(puts == NONE, NONE, 1 - puts)
