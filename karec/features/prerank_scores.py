"""Scores of pre-ranking: the inner product of the towers, plus the tables of wide towers."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.errors import BundleError, ContractError
from karec.features.cross_tables import USER_LISTS, CrossWeights
from karec.features.encoder import Encoder
from karec.features.user_vectors import user_query
from karec.index import IndexSchema
from karec.pipeline.types import Request


class Towers(Protocol):
    """The parts of a bundle that wide towers need."""

    @property
    def encoder(self) -> Encoder: ...
    @property
    def cross_weights(self) -> CrossWeights | None: ...


class WideScores:
    """Scores items by wide towers. Any thread may call.

    Items' codes come from the columns of the item index, so uploaded items have theirs. Raises BundleError if
    the index lacks a column.
    """

    def __init__(self, schema: IndexSchema, encoder: Encoder, weights: CrossWeights) -> None:
        self.encoder = encoder
        self.weights = weights
        self.categories = weights.categories(encoder)
        missing = [name for name in self.categories if name not in schema.columns]
        if missing:
            raise BundleError(
                f"wide towers read codes of {missing}, but the item index has no such columns: publish the "
                "run again"
            )

    @classmethod
    def from_bundle(cls, schema: IndexSchema, bundle: Towers) -> WideScores | None:
        """Returns None if the towers of ``bundle`` are not wide."""
        weights = bundle.cross_weights
        return None if weights is None else cls(schema, bundle.encoder, weights)

    @property
    def needs(self) -> tuple[str, ...]:
        """The features of the request that ``score`` reads, in addition to the user vector."""
        return tuple(f"request.{name}" for name in USER_LISTS)

    def score(self, request: Request, rows: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) float32 scores of ``rows`` of the request's index, −inf where a search skips the row.

        Cost: an inner product and, for each category, one look-up an item.
        """
        if "history" not in request.features:
            raise ContractError("wide towers need the user's features: put the step user_features into query")
        view, works = request.index, self.encoder.works
        tables = self.weights.make_tables(self.encoder, request.features)
        codes = {
            name: works.encode_category(name, view.gather(name, rows).astype(np.int64))
            for name in self.categories
        }
        return np.asarray(view.scores(user_query(request), rows=rows) + tables.score(codes), np.float32)


def best_positions(scores: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns the positions of the ``k`` best finite ``scores (N,)``, best first, ties by position."""
    best = np.flatnonzero(np.isfinite(scores))
    if len(best) > k:
        best = np.flatnonzero(scores >= -np.partition(-scores, k - 1)[k - 1])
    return best[np.argsort(-scores[best], kind="stable")][:k]
