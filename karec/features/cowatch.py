"""Co-watch vectors and ALS factors: items are near each other if the same users watched them.

``karec.learn.fit.cowatch`` makes them, and the encoder stores them. Cross features are the cosines of a
candidate with the items that the user watched or skipped, and the inner product x·y of ALS factors. The
factors x of a user come from those of the items that they watched last, y_j:

    x = (G + Σ_j y_j y_jᵀ)⁻¹ Σ_j y_j        G = (Σ_i y_i y_iᵀ + penalty·I) / weight over all items i

An item that too few users watched has no vector, and its crosses are 0.

There are vectors of several moments, each from the events before it. A training row reads those of the last
moment before it, so that its own event is in none of them. Serving reads the newest; a bundle has no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.once import computed_once
from karec.features.vocabulary import Vocabulary, encode_known, read_vocabulary

CROSSES = ("cowatch_history_max", "cowatch_history_mean", "cowatch_skipped_mean")
ALS = "als"  # name of the cross x·y
ALWAYS_MS = np.iinfo(np.int64).min  # time of vectors that all rows may read


@dataclass(frozen=True, eq=False)
class AlsFactors:
    """Factors y of the K items of ``CowatchVectors`` at its moments, the newest first.

    vectors  (M + 1, K + 1, F) float32 factors; the row of an item without factors is zero
    grams    (M + 1, F, F) float64: G of each moment
    """

    vectors: NDArray[Any]
    grams: NDArray[Any]

    @computed_once
    def tables(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (R, F) factors by row of ``CowatchVectors.all_vectors``, and the grams."""
        return self.vectors.reshape(-1, self.vectors.shape[2]), self.grams

    def user_vector(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Returns x (F,) float64 at the newest moment of a user who enjoyed the items of ``codes`` (H,).

        Repeated codes count once, code 0 not at all. Cost: O(H·F² + F³).
        """
        codes = np.unique(codes)
        enjoyed = self.vectors[0][codes[codes > 0]].astype(np.float64)
        return np.linalg.solve(self.grams[0] + enjoyed.T @ enjoyed, enjoyed.sum(axis=0))


@dataclass(frozen=True, eq=False)
class CowatchVectors:
    """Vectors of K items at M + 1 moments. Any number of threads may call.

    works     ids of the items with a vector at the newest moment
    vectors   (K + 1, D) float32 of length 1, by code; row 0 is zero. They are those of the newest moment
    past      (M, K + 1, D) float32, those of the moments before; a row is zero without a vector
    times_ms  (M + 1,) int64 Unix ms, ascending: the moments
    als       factors of the same items; None: there is no cross of ALS
    """

    works: Vocabulary
    vectors: NDArray[Any]
    past: NDArray[Any] | None = None
    times_ms: NDArray[Any] = field(default_factory=lambda: np.array([ALWAYS_MS]))
    als: AlsFactors | None = None

    @property
    def crosses(self) -> tuple[str, ...]:
        """Names of the cross features, in the order of their columns."""
        return CROSSES if self.als is None else (*CROSSES, ALS)

    def codes(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 rows of ``vectors`` of item ids, 0 for an item without a vector."""
        return encode_known(self.works, ids)

    @computed_once
    def all_vectors(self) -> NDArray[Any]:
        """(R, D) float32: ``vectors``, then those of the past moments."""
        if self.past is None:
            return self.vectors
        return np.concatenate([self.vectors, self.past.reshape(-1, self.vectors.shape[1])])

    def newest(self) -> CowatchVectors:
        """Returns the vectors and factors of the newest moment, which all rows may read. Views."""
        als = None if self.als is None else AlsFactors(self.als.vectors[:1], self.als.grams[:1])
        return CowatchVectors(self.works, self.vectors, als=als)

    def rows_before(self, codes: NDArray[Any], as_of_ms: NDArray[Any]) -> NDArray[Any]:
        """Returns rows of ``all_vectors`` of ``codes`` (N, …) at the last moment not after ``as_of_ms`` (N,).

        A row is 0 if the item had no vector at that moment, or if there is no such moment.
        """
        moments = np.searchsorted(self.times_ms, as_of_ms, side="right") - 1
        return np.asarray(self._rows[moments.reshape(-1, *[1] * (codes.ndim - 1)), codes])

    @computed_once
    def _rows(self) -> NDArray[Any]:
        """(M + 2, K + 1) int64 rows of ``all_vectors`` by moment and code. The last are zero: no moment."""
        n = len(self.vectors)
        past = np.empty((0, n), np.int64)
        if self.past is not None:
            past = np.where(self.past.any(axis=2), np.arange(n, n + n * len(self.past)).reshape(-1, n), 0)
        return np.concatenate([past, np.arange(n)[None], np.zeros((1, n), np.int64)])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"cowatch.works": self.works.keys, "cowatch.vectors": self.vectors}
        if self.past is not None:
            arrays |= {"cowatch.past": self.past, "cowatch.times_ms": self.times_ms}
        if self.als is not None:
            arrays |= {"cowatch.als": self.als.vectors, "cowatch.grams": self.als.grams}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CowatchVectors:
        """Returns the vectors of ``to_arrays``. Raises ValueError for another shape or a value that is not
        finite."""
        works = read_vocabulary(arrays, "cowatch.works")
        n = len(works) + 1
        vectors = _read_vectors(arrays, "cowatch.vectors", f"({n}, D)", lambda shape: shape[:-1] == (n,))
        n_moments = 1 + len(arrays.get("cowatch.past", ()))
        als = _read_als(arrays, n_moments, n) if "cowatch.als" in arrays else None
        if "cowatch.past" not in arrays:
            return cls(works, vectors, als=als)
        expected = f"(M, {n}, {vectors.shape[1]})"
        past = _read_vectors(
            arrays, "cowatch.past", expected, lambda shape: len(shape) == 3 and shape[1:] == vectors.shape
        )
        times = arrays.get("cowatch.times_ms", np.empty(0))
        if times.dtype != np.int64 or times.shape != (len(past) + 1,) or (np.diff(times) <= 0).any():
            raise ValueError(f"table 'cowatch.times_ms' is not {len(past) + 1} ascending int64")
        return cls(works, vectors, past, times, als)


def _read_als(arrays: Mapping[str, NDArray[Any]], n_moments: int, n: int) -> AlsFactors:
    def fits(shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and shape[:2] == (n_moments, n) and shape[2] > 0

    vectors = _read_vectors(arrays, "cowatch.als", f"({n_moments}, {n}, F)", fits)
    expected = len(vectors), vectors.shape[2], vectors.shape[2]
    grams = _read_vectors(arrays, "cowatch.grams", str(expected), lambda shape: shape == expected, np.float64)
    return AlsFactors(vectors, grams)


def _read_vectors(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    expected: str,
    fits: Callable[[tuple[int, ...]], bool],
    dtype: type = np.float32,
) -> NDArray[Any]:
    vectors = arrays.get(name)
    if vectors is None or not fits(vectors.shape) or vectors.dtype != dtype:
        actual = "is missing" if vectors is None else f"is {vectors.dtype} {vectors.shape}"
        raise ValueError(f"table {name!r} {actual}, expected {np.dtype(dtype)} {expected}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"table {name!r} has a number that is not finite")
    return vectors
