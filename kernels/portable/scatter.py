"""Rules on the order of a list, as ``native/src/rules/scatter.cpp`` keeps them; definition and cost in
scatter.hpp.

Greedy over what remains, with a look ahead: a value is urgent where leaving this place to another one would
leave more of it than the places after it can hold. Plain Python: lists are short, and most places take their
first item.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.kernels.option_values import positive
from karec.kernels.portable.arrays import Int64, int64_input


def scatter(
    n: int, rules: Sequence[tuple[Int64, int, int, Int64]], k: int
) -> tuple[Int64, list[tuple[int, int, int]]]:
    """``karec._native.scatter``: (indices, [(position, rule, count) of each violation])."""
    for number, (values, window, max_count, shown) in enumerate(rules):
        int64_input(values, "column", (n,))
        int64_input(shown, "shown", ("M",))
        positive("window", window)
        positive("max_count", max_count)
        if max_count >= window:
            raise ValueError(
                f"rule {number} has window {window} and max_count {max_count}, "
                "expected window ≥ 2, 1 ≤ max_count < window"
            )
    states = [_Rule(*rule) for rule in rules]
    remaining = list(range(n))
    indices = np.empty(k, np.int64)
    violations = []
    for place in range(k):
        n_urgent = sum(rule.look_ahead(place, k, len(remaining)) for rule in states)
        item = remaining.pop(_choose(states, remaining, place, n_urgent))
        for number, rule in enumerate(states):
            count = rule.count_at(place, item)
            if count > rule.max_count:
                violations.append((place, number, count))
            rule.put(place, item)
        indices[place] = item
    return indices, violations


def _choose(rules: list[_Rule], remaining: list[int], place: int, n_urgent: int) -> int:
    """Where the item to take stands: least excess, then most urgent values served, then order."""
    chosen, best = 0, (1 << 62, 0)
    for at, item in enumerate(remaining):
        excess = sum(rule.excess_at(place, item) for rule in rules)
        served = sum(rule.is_urgent(item) for rule in rules)
        if (excess, -served) < best:
            chosen, best = at, (excess, -served)
            if excess == 0 and served == n_urgent:
                break
    return chosen


class _Rule:
    """One rule, and where its values stand so far; places count from the first shown."""

    def __init__(self, values: Int64, window: int, max_count: int, shown: Int64) -> None:
        self.window, self.max_count, self.n_shown = window, max_count, len(shown)
        known, value_of, counts = np.unique(values, return_inverse=True, return_counts=True)
        self.value_of: list[int] = value_of.tolist()  # item → value
        self.n_first: list[int] = counts.tolist()
        self.n_left: list[int] = counts.tolist()
        self.places: list[list[int]] = [[] for _ in known]
        code_of = {value: code for code, value in enumerate(known.tolist())}
        for place, value in enumerate(shown.tolist()):
            if value in code_of:
                self.places[code_of[value]].append(place)
        self.frequent_first = sorted(range(len(known)), key=lambda value: -self.n_first[value])
        self.urgent: set[int] = set()

    def count_at(self, place: int, item: int) -> int:
        """How many of the item's value the window that ends at ``place`` would hold with it."""
        count = 1
        for at in reversed(self.places[self.value_of[item]]):
            if at + self.window <= place + self.n_shown:
                break
            count += 1
        return count

    def excess_at(self, place: int, item: int) -> int:
        return max(0, self.count_at(place, item) - self.max_count)

    def is_urgent(self, item: int) -> bool:
        return self.value_of[item] in self.urgent

    def put(self, place: int, item: int) -> None:
        self.places[self.value_of[item]].append(place + self.n_shown)
        self.n_left[self.value_of[item]] -= 1

    def look_ahead(self, place: int, k: int, n_remaining: int) -> bool:
        """Marks the values that this place of k must not pass over; whether there is one."""
        self.urgent.clear()
        n_places = k - place
        n_unplaced = n_remaining - n_places
        surely_fits = n_places // self.window * self.max_count  # whatever stands before
        for value in self.frequent_first:
            if self.n_first[value] <= n_unplaced + surely_fits:
                break
            if self.n_left[value] <= n_unplaced:
                continue
            if self.n_left[value] - n_unplaced > self._capacity(
                value, place + 1 + self.n_shown, k + self.n_shown
            ):
                self.urgent.add(value)
        return bool(self.urgent)

    def _capacity(self, value: int, first: int, end: int) -> int:
        """How many of ``value`` places first … end − 1 hold at most: each of the last max_count ones blocks
        its successor for a window, and so on in steps of a window."""
        places = self.places[value]
        n_recent = min(len(places), self.max_count)
        total, following = 0, first
        for track in range(self.max_count):
            if following >= end:
                break
            if track + n_recent >= self.max_count:
                following = max(following, places[len(places) - (self.max_count - track)] + self.window)
            if following < end:
                total += (end - 1 - following) // self.window + 1
            following += 1
        return total
