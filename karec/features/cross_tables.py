"""Tables of the wide part of towers: for a user, what each value of a category adds to an item's score.

The wide part (``karec.learn.nets.wide``) is a linear function of cross features that depend on an item by the
code of one category. So its sum over the features of a category is one number for each code. A request
computes it for the codes in the user's lists, for code 0, and once for all other codes, whose cross features
are equal. An item then costs one look-up a category, in the item index (``karec.index.CodeTable``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.errors import BundleError
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.files import file_aside, read_npz
from karec.index import CodeTable

USER_LISTS = (  # user inputs of ``Encoder`` that tables read
    "history",
    "skipped",
    "affinity_history",
    "affinity_skipped",
    "history_cowatch",
    "skipped_cowatch",
    *SOCIAL_EDGES,
    "alike",
)


class CrossTables:
    """Makes the tables of users. Any number of threads may call.

    ``categories``: those with a table. They are the code columns of the item index.
    """

    def __init__(self, encoder: Encoder, weights: CrossWeights) -> None:
        self.weights = weights
        self.categories = weights.categories(encoder)
        self._encoder = encoder
        parts = weights.columns, weights.low, weights.per_width, weights.weights[0]
        self._native_weights = _native.CrossWeights(*parts)

    @classmethod
    def load(cls, path: Path, encoder: Encoder) -> CrossTables:
        """Raises BundleError for a missing or damaged file, or one that does not fit ``encoder``."""
        weights = CrossWeights.load(path, encoder)
        if weights is None:
            raise BundleError(f"{path} is missing, but other model versions have wide towers. Publish again.")
        return cls(encoder, weights)

    def make(self, user: Mapping[str, NDArray[Any]]) -> dict[str, CodeTable]:
        """Returns {category: table} for the user of one request, the inputs ``user`` of ``encode_user``.

        Cost: the cross features of an item for each distinct code of the user's lists.
        """
        tables = self._encoder.encode_tables(user, self._native_weights, self.categories)
        return {name: CodeTable(*table) for name, table in zip(self.categories, tables, strict=True)}


@dataclass(frozen=True, eq=False)
class CrossWeights:
    """Weights of the wide part: term f = Σ_b weights[f, b] · clip((x − low) · per_width, 0, 1) + last · x.

    x is a cross feature, b one of its B pieces, and the last weight that of the plain number.

    columns      (F,) int64 columns of the crosses, each of a category
    low          (F, B) float32 begins of the pieces
    per_width    (F, B) float32 1 / their widths
    weights      (H, F, B + 1) float32 by head of the towers, fused first
    """

    columns: NDArray[Any]
    low: NDArray[Any]
    per_width: NDArray[Any]
    weights: NDArray[Any]

    def categories(self, encoder: Encoder) -> tuple[str, ...]:
        """Returns the categories with a table, in the order of ``item_ids``."""
        found = {encoder.cross_categories[column] for column in self.columns}
        return tuple(name for name in encoder.names["item_ids"] if name in found)

    def terms(self, crosses: NDArray[Any], head: int = 0) -> NDArray[Any]:
        """Returns (N, F) float64 terms of ``crosses (N, X)``. Their sum is what the head adds to a score."""
        x = crosses[:, self.columns].astype(np.float64)
        pieces = np.clip((x[:, :, None] - self.low) * self.per_width, 0.0, 1.0)
        weights = self.weights[head].astype(np.float64)
        return np.asarray(np.einsum("nfb,fb->nf", pieces, weights[:, :-1]) + x * weights[:, -1])

    def check(self, path: Path, encoder: Encoder) -> None:
        """Raises BundleError for a number that is not finite, or a column that is not of a category."""
        n = len(self.columns)
        shapes = (n, *self.low.shape[1:]), (len(encoder.tasks) + 1, n, self.low.shape[1] + 1)
        arrays = {"low": self.low, "per_width": self.per_width, "weights": self.weights}
        for (name, array), shape in zip(arrays.items(), (shapes[0], *shapes), strict=True):
            if array.shape != shape:
                raise BundleError(f"{path}: {name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise BundleError(f"{path}: {name} has a number that is not finite. Train the towers again.")
        known = [at for at, category in enumerate(encoder.cross_categories) if category is not None]
        if not np.isin(self.columns, known).all():
            raise BundleError(f"{path}: columns are {self.columns.tolist()}, expected some of {known}")

    def save(self, path: Path) -> None:
        with file_aside(path) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path, encoder: Encoder) -> CrossWeights | None:
        """Returns None if there is no file: the towers are not wide.

        Raises BundleError for a damaged file, or one that does not fit ``encoder``.
        """
        if not path.exists():
            return None
        try:
            arrays = read_npz(path)
            weights = cls(*(arrays[name] for name in cls.__annotations__))
            if weights.columns.dtype.kind != "i" or weights.columns.ndim != 1 or weights.low.ndim != 2:
                raise ValueError("expected integer columns (F,) and pieces (F, B)")
        except (OSError, KeyError, ValueError) as error:
            raise BundleError(f"{path} is not a file of cross weights: {error}") from error
        weights.check(path, encoder)
        return weights
