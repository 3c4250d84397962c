"""Tables of the wide part of towers: for a user, what each value of a category adds to an item's score.

The wide part (``karec.learn.nets.wide``) is a linear function of cross features that depend on an item by the
code of one category. So its sum over the features of a category is one number for each code. A request
computes it for the codes in the user's lists, for code 0, and once for all other codes, whose cross features
are equal. An item then costs one look-up a category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.errors import BundleError
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import Encoder
from karec.files import file_aside, read_npz

OTHER = np.iinfo(np.int64).max  # a code that no value has, see ``karec.features.vocabulary``
_LISTS = ("history", "skipped", "affinity_history", "affinity_skipped")
USER_LISTS = (*_LISTS, *SOCIAL_EDGES, "alike")  # user inputs of ``Encoder`` that tables read


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

    def make_tables(self, encoder: Encoder, user: Mapping[str, NDArray[Any]]) -> CrossTables:
        """Returns the tables of the user of one request, the inputs ``user`` of ``Encoder.encode_user``.

        Cost: the crosses and terms of one item for each distinct code of the user's lists, and O(K) for the
        K codes of each category.
        """
        names = encoder.names["item_ids"]
        codes = [_codes_of_user(encoder, user, column) for column in range(len(names))]
        items = np.zeros((1 + max(map(len, codes)), len(names)), np.int64)
        items[0] = OTHER
        for column, own in enumerate(codes):
            items[1 : 1 + len(own), column] = own
        cowatch = np.zeros(len(items), np.int64)
        terms = self.terms(encoder.encode_crosses(user, {"item_ids": items, "cowatch": cowatch})["crosses"])
        tables = {}
        for name in self.categories(encoder):
            own = codes[names.index(name)]
            is_of_category = [encoder.cross_categories[column] == name for column in self.columns]
            values = terms[: 1 + len(own), is_of_category].sum(axis=1)
            size = encoder.sizes["item_ids"][names.index(name)]
            tables[name] = CodeTable.from_values(own, values[1:], float(values[0]), size)
        return CrossTables(tables)

    def check(self, path: Path, encoder: Encoder) -> None:
        """Raises BundleError for a number that is not finite, or a column that is not of a category."""
        n = len(self.columns)
        shapes = (n, *self.low.shape[1:]), (len(encoder.tasks) + 1, n, self.low.shape[1] + 1)
        arrays = {"low": self.low, "per_width": self.per_width, "weights": self.weights}
        for (name, array), shape in zip(arrays.items(), (shapes[0], *shapes), strict=True):
            if array.shape != shape or not np.isfinite(array).all():
                raise BundleError(f"{path}: {name} has shape {array.shape}, expected finite numbers {shape}")
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


@dataclass(frozen=True, eq=False)
class CodeTable:
    """What the codes of a category add to a score.

    known          (K + 1,) float64 by code; the last for every other code that the user's lists lack
    unseen_codes   (S,) int64, ascending: codes above K − 1 in the user's lists
    unseen         (S,) float64, theirs
    """

    known: NDArray[Any]
    unseen_codes: NDArray[Any]
    unseen: NDArray[Any]

    @classmethod
    def from_values(cls, codes: NDArray[Any], values: NDArray[Any], other: float, size: int) -> CodeTable:
        """Returns a table of ascending ``codes`` with ``values``; ``other`` for the rest; K = ``size``."""
        n_known = int(np.searchsorted(codes, size))
        known = np.full(size + 1, other)
        known[codes[:n_known]] = values[:n_known]
        return cls(known, codes[n_known:], values[n_known:])

    def look_up(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) float64. O(N), and O(log S) more for each code above K − 1."""
        last = len(self.known) - 1
        values: NDArray[Any] = self.known[np.minimum(codes, last)]
        rare = np.flatnonzero(codes >= last) if len(self.unseen_codes) else self.unseen_codes
        if len(rare):
            at = np.minimum(np.searchsorted(self.unseen_codes, codes[rare]), len(self.unseen_codes) - 1)
            is_own = self.unseen_codes[at] == codes[rare]
            values[rare[is_own]] = self.unseen[at[is_own]]
        return values


@dataclass(frozen=True, eq=False)
class CrossTables:
    """The tables of one user by category."""

    tables: Mapping[str, CodeTable]

    def score(self, codes: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (N,) float64: the sum over categories for items with ``codes`` {category: (N,)}."""
        return np.asarray(sum(table.look_up(codes[name]) for name, table in self.tables.items()))


def _codes_of_user(encoder: Encoder, user: Mapping[str, NDArray[Any]], column: int) -> NDArray[Any]:
    """Returns (K,) int64, ascending: 0 and the codes of an item category that the user's inputs contain."""
    name = encoder.names["item_ids"][column]
    parts = [np.zeros(1, np.int64), *(user[key][0, :, column] for key in _LISTS)]
    parts += [user[key][0] for key in SOCIAL_EDGES] if name == CREATOR else []
    parts += [user["alike"][0, [encoder.shared.index(name)]]] if name in encoder.shared else []
    return np.unique(np.concatenate(parts))
