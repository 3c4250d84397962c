"""Lives of all works that a log names, in little memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import UPLOAD
from karec.online.item_life import ItemLife

ALWAYS = 1 << 62  # later than the moment of any base


@dataclass(eq=False)
class PackedLives(Mapping[int, ItemLife]):
    """{work: its life}, each as the store writes it: bytes, where objects would be walked through by each
    collection of garbage, with Python's lock held. One thread writes.
    """

    _bytes: dict[int, bytes] = field(default_factory=dict)
    _said_ms: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, lives: Mapping[int, ItemLife]) -> Self:
        """A copy."""
        if isinstance(lives, cls):
            return cls(lives._bytes.copy(), lives._said_ms.copy())
        found = cls()
        found.put(lives)
        return found

    def __getitem__(self, work: int) -> ItemLife:
        return ItemLife.of_bytes(self._bytes[work])

    def __iter__(self) -> Iterator[int]:
        return iter(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __contains__(self, work: object) -> bool:
        return work in self._bytes

    def put(self, lives: Mapping[int, ItemLife]) -> None:
        """These in place of what was known of their works."""
        for work, life in lives.items():
            self._bytes[work], self._said_ms[work] = life.to_bytes(), _said_ms(life)

    def put_bytes(self, work: int, data: bytes) -> None:
        """What a store has of a work. ValueError as ``ItemLife.of_bytes``."""
        self._bytes[work], self._said_ms[work] = data, _said_ms(ItemLife.of_bytes(data))

    def moments(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(works (N,) int64, when the newest upload or edit of each was (N,) int64): a base of a later moment
        has all that became of the work. ALWAYS where it was also deleted, blocked or adjusted: no base says
        that.
        """
        n = len(self._bytes)
        return np.fromiter(self._bytes, np.int64, n), np.fromiter(self._said_ms.values(), np.int64, n)


def _said_ms(life: ItemLife) -> int:
    uploaded = life.there is None or life.there[1] == UPLOAD
    said = life.columns or life.uploaded_ms is not None
    return life.said_ms if uploaded and said and life.blocked is None and not life.adjusted else ALWAYS
