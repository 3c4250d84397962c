"""Cross features: what a user and a work have in common, from the codes of their inputs alone.

For each category of works (the work itself, creator, song, …) how many works of the user's history and of the skipped
works have the candidate's value, and how recent the newest is; whether the user follows the creator or is a friend;
whether user and work agree in the categories that both have; and how much those who watched the user's works watched
the candidate (``karec.features.cowatch``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from karec.features.cowatch import CROSSES, CowatchVectors
from karec.kernels.encode import count_matches
from karec.platform.schema import CREATOR
from karec.types import Array

SOCIAL_EDGES = {"follows": "creator_followed", "friends": "creator_is_friend"}  # relation of the user: cross feature
MOST_EDGES = 100  # so many latest ones are looked at
_MATCHES = ("in_history", "in_skipped", "newest_in_history", "newest_in_skipped")


@dataclass(frozen=True, eq=False)
class CrossFeatures:
    """``categories`` of works in the order of item_ids; ``shared`` are those that users have by the same name."""

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

    def of(self, user: Mapping[str, Array], items: Mapping[str, Array]) -> Array:
        """(N, X) float32 from inputs of ``Encoder``: the user's side of one row, or of as many as there are items.

        O(N·((H + S)·(I + D) + L)) for H history and S skipped slots, I categories, D dimensions of cowatch vectors and
        L social edges.
        """
        codes = items["item_ids"]
        matches = count_matches(user["history"], user["skipped"], codes)
        np.log1p(matches[:, :2], out=matches[:, :2])
        shared = codes[:, [self.categories.index(name) for name in self.shared]]
        edges = self._edges(user, codes)
        parts = [matches.reshape(len(codes), -1), *edges, (user["alike"] == shared) & (shared > 0)]
        if self.cowatch is not None:
            parts.append(self.cowatch.crosses(user["history_cowatch"], user["skipped_cowatch"], items["cowatch"]))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def _edges(self, user: Mapping[str, Array], codes: Array) -> list[Array]:
        """(N, 1) bool for each of SOCIAL_EDGES; none where works have no creators."""
        if CREATOR not in self.categories:
            return []
        creator = codes[:, [self.categories.index(CREATOR)]]
        return [((user[name] == creator) & (creator > 0)).any(axis=1, keepdims=True) for name in SOCIAL_EDGES]
