"""Cross features of a user and an item, from the codes of their inputs.

They are: for each category of items (the item itself, creator, song, …) the number of items in the user's
history and of skipped items with the candidate's value, and the recency of the newest; whether the user
follows the creator or is a friend; whether user and item agree in the categories that both have; co-watch
cosines and ALS (``karec.features.cowatch``); affinities (``karec.features.affinities``); and, if the training
log has positions, ln(position). Only rows that a model learns from have a position; ln(position) of all
others is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.catalog.once import computed_once
from karec.catalog.schema import CREATOR
from karec.features.affinities import AffinityPriors
from karec.features.cowatch import CowatchVectors

SOCIAL_EDGES = {"follows": "creator_followed", "friends": "creator_is_friend"}  # by user relation
MAX_TABLES = 16  # code columns of an item index
MAX_EDGES = 100  # the latest edges of a user that are compared
_NO_POSITIONS = np.empty(0, np.int64)
_MATCHES = ("in_history", "in_skipped", "newest_in_history", "newest_in_skipped")


@dataclass(frozen=True, eq=False)
class CrossFeatures:
    """Computes cross features. Any number of threads may call.

    categories     of items, in the order of item_ids
    shared         those that users have by the same name
    affinities     None: an encoder without them
    has_positions  True if there is a column of positions
    """

    categories: tuple[str, ...]
    shared: tuple[str, ...]
    cowatch: CowatchVectors | None
    affinities: AffinityPriors | None
    has_positions: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the X columns of ``compute``."""
        return (
            *(f"{category}_{match}" for match in _MATCHES for category in self.categories),
            *(SOCIAL_EDGES.values() if CREATOR in self.categories else ()),
            *(f"same_{category}" for category in self.shared),
            *(() if self.cowatch is None else self.cowatch.crosses),
            *(() if self.affinities is None else (f"affinity_{name}" for name in self.categories)),
            *(("log_position",) if self.has_positions else ()),
        )

    @property
    def item_categories(self) -> tuple[str | None, ...]:
        """For each column the category whose code is all that it reads of an item; None if it reads more.

        The item's own id counts as more: a table by its code would have a row for each item. So do categories
        after the first MAX_TABLES, which an item index has no code column for.
        """
        tabled = self.categories[1 : 1 + MAX_TABLES]
        n_cowatch = 0 if self.cowatch is None else len(self.cowatch.crosses)
        categories = (
            *(self.categories * len(_MATCHES)),
            *((CREATOR,) * len(SOCIAL_EDGES) if CREATOR in self.categories else ()),
            *self.shared,
            *((None,) * n_cowatch),
            *(() if self.affinities is None else self.categories),
            *((None,) if self.has_positions else ()),
        )
        return tuple(name if name in tabled else None for name in categories)

    def compute(
        self,
        user: Mapping[str, NDArray[Any]],
        items: Mapping[str, NDArray[Any]],
        position: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Returns (N, X) float32 from inputs of ``Encoder``. The user has one row, or one for each item.

        ``position``: (N,), 1 = first, 0 = unknown. None: the log position is 0.

        Cost: O(N·(I + V·D) + (H + S)·I) for one row, with H history and S skipped slots, I categories, and V
        items of the history with a co-watch vector of D dimensions (``native/src/features/crosses.hpp``);
        the ALS vector of a user adds O(V·F² + F³).
        """
        return self._arrange(user, items, position).crosses()

    def compute_tables(
        self, user: Mapping[str, NDArray[Any]], weights: _native.CrossWeights, categories: Sequence[str]
    ) -> list[tuple[NDArray[np.uint32], NDArray[np.float32], float]]:
        """Returns (codes, values, other) of one user for each of ``categories``.

        ``native/src/features/cross_tables.hpp`` defines them.
        """
        places = [self.categories.index(name) for name in categories]
        return self._arrange(user, self._no_items, None).tables(weights, places)

    def _arrange(
        self,
        user: Mapping[str, NDArray[Any]],
        items: Mapping[str, NDArray[Any]],
        position: NDArray[Any] | None,
    ) -> _native.CrossInputs:
        cowatch = None
        if self.cowatch is not None:
            rows = user["history_cowatch"], user["skipped_cowatch"], items["cowatch"]
            als = () if self.cowatch.als is None else self.cowatch.als.tables
            cowatch = self.cowatch.all_vectors, *rows, *als
        affinities = None
        if self.affinities is not None:
            lists = user["affinity_history"], user["affinity_skipped"]
            affinities = *lists, self.affinities.rates, self.affinities.shares
        return _native.CrossInputs(
            *(user["history"], user["skipped"], user["follows"], user["friends"], user["alike"]),
            self._shared,
            items["item_ids"],
            self._creator,
            cowatch,
            affinities,
            None if not self.has_positions else _NO_POSITIONS if position is None else position,
        )

    @computed_once
    def _no_items(self) -> dict[str, NDArray[Any]]:
        return {"item_ids": np.empty((0, len(self.categories)), np.int64), "cowatch": np.empty(0, np.int64)}

    @computed_once
    def _shared(self) -> list[int]:
        return [self.categories.index(name) for name in self.shared]

    @computed_once
    def _creator(self) -> int:
        """The column of creators, −1 if items have no creators."""
        return self.categories.index(CREATOR) if CREATOR in self.categories else -1
