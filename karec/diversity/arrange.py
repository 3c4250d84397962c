"""Arranges a list by hard rules on neighbours and by slots, in C++ without the GIL, on one thread.

``native/include/karec/arrange.hpp`` has the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.diversity.native import library
from karec.kernels.arguments import positive, whole

Int64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

WHOLE_SESSION = 2**63 - 1  # a window that reaches back to the first item of ``shown``


@dataclass(frozen=True, eq=False)
class NeighbourRule:
    """Limits how often the label that an item conflicts with occurs in the window before the item.

    The window of an item is its position and the ``window`` − 1 positions before it. It reaches back into
    ``shown``. Labels and conflicts below 0 mean none.

    labels         (n,) int64, label of each item
    conflicts      (n,) int64, label that each item conflicts with. With conflicts = labels, at most
                   max_conflicts + 1 items of one label are among ``window`` neighbours
    shown          (m,) int64, labels of the items that the session saw before the list, oldest first
    window         ≥ 2
    max_conflicts  ≥ 0, number of conflicting labels in the window that is allowed
    """

    labels: Int64
    conflicts: Int64
    shown: Int64
    window: int = 2
    max_conflicts: int = 0

    @classmethod
    def from_values(
        cls, values: ArrayLike, *, window: int = 2, max_count: int = 1, shown: ArrayLike = ()
    ) -> NeighbourRule:
        """Returns the rule that at most ``max_count`` of ``window`` neighbours have the same value.

        Args:
            values: (n,) integers, for example the creator of each item. Values below 0 count like others.
            window: ≥ 2.
            max_count: in [1, window).
            shown: (m,) integers, values of the items that the session saw before the list, oldest first.

        Raises:
            ValueError: values that are not integers, or a window or max_count out of range.
            TypeError: a window or max_count that is not a whole number.
        """
        window, max_count = whole("window", window), positive("max_count", max_count)
        if max_count >= window:
            raise ValueError(f"max_count must be below window, got window {window} and max_count {max_count}")
        columns = [_integers("values", values), _integers("shown", shown)]
        labels = np.unique(np.concatenate(columns), return_inverse=True)[1].astype(np.int64)
        n = len(columns[0])
        return cls(labels[:n], labels[:n], labels[n:], window, max_count - 1)


@dataclass(frozen=True, eq=False)
class Slot:
    """A position that belongs to some items.

    position  0 is the first
    members   (n,) bool, items that may be at the position. None leaves the position empty
    """

    position: int
    members: Bools | None = None


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The items of a list in a new order, and the rules that it breaks.

    indices      (k,) int64, item at each position. −1 at an empty slot and behind the end of a short list
    violations   (position, number of the rule, number of conflicts above the limit), by position
    unmet_slots  numbers of the slots that no item could fill
    is_exact     False if the search was given up and the list is the greedy one
    """

    indices: Int64
    violations: tuple[tuple[int, int, int], ...]
    unmet_slots: tuple[int, ...]
    is_exact: bool


def arrange(
    n_items: int,
    rules: Sequence[NeighbourRule],
    k: int,
    *,
    slots: Sequence[Slot] = (),
    is_slot_only: Bools | None = None,
) -> Arrangement:
    """Arranges items 0 … n_items − 1, best first, at ``k`` positions.

    The result is the list with the fewest unmet slots. Of those it has the fewest conflicts above the limit
    of the first rule, then of the second, and so on (from the eighth on together). Of those it is the first:
    position by position the earliest item, and at a slot a member before all others. After 20,000 tried items
    the search is given up. Each position then takes the item with the fewest conflicts in this order, and as
    many slots are filled.

    Args:
        n_items: number of items.
        rules: their arrays have one value for each item.
        k: number of positions. With fewer items the list ends early.
        slots: at most one for each position.
        is_slot_only: (n_items,) bool, items that may be in slots only.

    Raises:
        ValueError: n_items or k is below 0 or above 2^31 − 1, an array of another length, a window below 2,
            two slots of one position, a slot at a position ≥ k.

    Cost: O(n·(R + S)·log n + k·R) for n items, R rules, S slots and a list that seldom breaks a rule.
    """
    positions, violations, is_exact = library.arrange(
        n_items,
        [(rule.labels, rule.conflicts, rule.shown, rule.window, rule.max_conflicts) for rule in rules],
        [(slot.position, slot.members) for slot in slots],
        is_slot_only,
        k,
    )
    broken = tuple(violation for violation in violations if violation[1] < len(rules))
    unmet = tuple(rule - len(rules) for _, rule, _ in violations if rule >= len(rules))
    return Arrangement(positions, broken, unmet, is_exact)


def _integers(name: str, values: ArrayLike) -> Int64:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iub" and array.size):
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected (n,) integers")
    return array.astype(np.int64, copy=False)
