"""Cross features: what a user and a work have in common, from the codes of their inputs alone.

For each category of works (the work itself, creator, song, …) how many works of the user's history and of the
skipped works have the candidate's value, and how recent the newest is; whether the user follows the creator
or is a friend; whether user and work agree in the categories that both have; and how much those who watched
the user's works watched the candidate (``karec.features.cowatch``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from karec import _native
from karec.catalog.once import computed_once
from karec.catalog.schema import CREATOR
from karec.features.cowatch import CROSSES, CowatchVectors

# relation of the user: cross feature
SOCIAL_EDGES = {"follows": "creator_followed", "friends": "creator_is_friend"}
MOST_EDGES = 100  # so many latest ones are looked at
_MATCHES = ("in_history", "in_skipped", "newest_in_history", "newest_in_skipped")


@dataclass(frozen=True, eq=False)
class CrossFeatures:
    """``categories`` of works in the order of item_ids; ``shared`` are those that users have by the same
    name."""

    categories: tuple[str, ...]
    shared: tuple[str, ...]
    cowatch: CowatchVectors | None

    @property
    def names(self) -> tuple[str, ...]:
        """What the X columns of ``of`` are."""
        return (
            *(f"{category}_{match}" for match in _MATCHES for category in self.categories),
            *(SOCIAL_EDGES.values() if CREATOR in self.categories else ()),
            *(f"same_{category}" for category in self.shared),
            *(() if self.cowatch is None else CROSSES),
        )

    def of(self, user: Mapping[str, NDArray[Any]], items: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(N, X) float32 from inputs of ``Encoder``: the user's side of one row, or of as many as there are
        items.

        Of one row O(N·(I + V·D) + (H + S)·I) for H history and S skipped slots, I categories, V works of the
        history with a co-watch vector of D dimensions (``native/src/features/crosses.hpp``).
        """
        cowatch = None
        if self.cowatch is not None:
            rows = user["history_cowatch"], user["skipped_cowatch"], items["cowatch"]
            cowatch = self.cowatch.vectors, *rows
        return _native.crosses(
            *(user["history"], user["skipped"], user["follows"], user["friends"], user["alike"]),
            self._shared,
            items["item_ids"],
            self._creator,
            cowatch,
        )

    @computed_once
    def _shared(self) -> list[int]:
        return [self.categories.index(name) for name in self.shared]

    @computed_once
    def _creator(self) -> int:
        """The column of creators, −1 where works have none."""
        return self.categories.index(CREATOR) if CREATOR in self.categories else -1
