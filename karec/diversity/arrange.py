"""Lists arranged under rules: who may stand at which place, and what may not stand near what.

The work is done in C++, without the GIL, on one thread. ``native/include/karec/arrange.hpp`` has the
definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karec.diversity.native import library

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

WHOLE_SESSION = 2**63 - 1  # a window


@dataclass(frozen=True, eq=False)
class MarkRule:
    """An item leaves a mark at its place and looks for one in the ``window`` − 1 places before it; a mark
    below 0 is none. It may find ``allowed`` marks.

    puts, looks   (n,) int64. The same marks for both: at most allowed + 1 of one value among ``window``
                  neighbours. Others: works of two kinds that do not stand near each other
    shown         (m,) int64 marks of what the session saw before the list, oldest first
    """

    puts: Int64
    looks: Int64
    shown: Int64
    window: int = 2
    allowed: int = 0


@dataclass(frozen=True, eq=False)
class Slot:
    """The ``place`` (0 is the first) belongs to the items that ``fits (n,) bool`` names; None: to none, it is
    left free.
    """

    place: int
    fits: Bools | None = None


@dataclass(frozen=True, eq=False)
class Arranged:
    """``indices (k,)`` int64: the item at each place; −1 where a place is free, or behind the end of a short
    list.

    ``broken``: (place, number of the rule, excess), by place; ``unmet``: numbers of the slots that no item
    fits. ``whole``: the search was; else the list is greedy's.
    """

    indices: Int64
    broken: tuple[tuple[int, int, int], ...]
    unmet: tuple[int, ...]
    whole: bool


def arrange(
    n: int, rules: Sequence[MarkRule], k: int, slots: Sequence[Slot] = (), only: Bools | None = None
) -> Arranged:
    """The ``k`` places of a list of items 0 … n − 1, best first.

    Of all lists one in which the fewest slots are unmet, of those one with the least excess, of those the
    first: place by place the earliest item, at a slot one that fits before all others. ``only (n,) bool``:
    items that stand in slots alone. Fewer items than places: the list ends early. After 20,000 items looked
    at the search is given up, and each place takes the item of least excess; as many slots are met.

    ValueError: n or k is below 0 or above 2^31 - 1, marks or members of another length, window < 2, two slots
    of one place, a slot at a place ≥ k.
    O(n·(R + S)·log n + k·R) for R rules, S slots and a list that seldom breaks a rule.
    """
    places, violations, whole = library.arrange(
        n,
        [(rule.puts, rule.looks, rule.shown, rule.window, rule.allowed) for rule in rules],
        [(slot.place, slot.fits) for slot in slots],
        only,
        k,
    )
    broken = tuple(each for each in violations if each[1] < len(rules))
    unmet = tuple(rule - len(rules) for _, rule, _ in violations if rule >= len(rules))
    return Arranged(places, broken, unmet, whole)
