"""Slots of a list: which can be met together, by whom, and how long the list can be; as arrange_slots.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NONE = -1


class Slots:
    """A largest matching of slots and items; of those, one that uses the most items of ``only``.

    ``n_places`` ≤ k: all of them can be filled. ``item_of``: the item of each slot, −1 where it is unmet;
    ``n_unmet`` counts those within ``n_places``. ``at``: {place: its slot}.
    """

    def __init__(
        self,
        n: int,
        slots: Sequence[tuple[int, NDArray[np.bool_] | None]],
        only: NDArray[np.bool_] | None,
        k: int,
    ) -> None:
        self.n = n
        self.places = [place for place, _ in slots]
        self._fits = [None if fits is None else fits.tolist() for _, fits in slots]
        self._only = [] if only is None else only.tolist()
        self.at = {place: slot for slot, place in enumerate(self.places)}
        n_others = n - sum(self._only)
        self.n_places = min(k, n_others + len(slots))
        while True:
            self._match()
            within = [slot for slot, place in enumerate(self.places) if place < self.n_places]
            filled = sum(
                self.free(s) or (self.item_of[s] != NONE and self.only(self.item_of[s])) for s in within
            )
            if n_others + filled >= self.n_places:
                break
            self.n_places -= 1
        self.n_unmet = sum(not self.free(slot) and self.item_of[slot] == NONE for slot in within)

    def free(self, slot: int) -> bool:
        """Whether the slot is left empty."""
        return self._fits[slot] is None

    def fits(self, slot: int, item: int) -> bool:
        fits = self._fits[slot]
        return fits is not None and bool(fits[item])

    def only(self, item: int) -> bool:
        return bool(self._only and self._only[item])

    def traits(self, item: int) -> tuple[int, ...]:
        """Which slots it fits, and whether it stands in slots alone."""
        fits = (self.fits(slot, item) for slot in range(len(self.places)))
        return (*map(int, fits), int(self.only(item)))

    def _match(self) -> None:
        self.item_of = [NONE] * len(self.places)
        for of_only in (True, False):
            for item in range(self.n):
                if self.only(item) == of_only:
                    asked = [place >= self.n_places or self.free(s) for s, place in enumerate(self.places)]
                    self._seat(item, asked)

    def _seat(self, item: int, asked: list[bool]) -> bool:
        for slot in range(len(self.places)):
            if asked[slot] or not self.fits(slot, item):
                continue
            asked[slot] = True
            if self.item_of[slot] == NONE or self._seat(self.item_of[slot], asked):
                self.item_of[slot] = item
                return True
        return False
