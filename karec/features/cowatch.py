"""Co-watch vectors: items are near each other if the same users watched them.

``karec.learn.fit.cowatch`` makes the vectors, and the encoder stores them. Cross features are the cosines of
a candidate with the items that the user watched or skipped. An item that too few users watched has no vector,
and its cosines are 0.

There are vectors of several moments, each from the events before it. A training row reads those of the last
moment before it, so that its own event is in none of them. Serving reads the newest.
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
ALWAYS_MS = np.iinfo(np.int64).min  # time of vectors that all rows may read


@dataclass(frozen=True, eq=False)
class CowatchVectors:
    """Vectors of K items at M + 1 moments. Any number of threads may call.

    works     ids of the items with a vector at the newest moment
    vectors   (K + 1, D) float32 of length 1, by code; row 0 is zero. They are those of the newest moment
    past      (M, K + 1, D) float32, those of the moments before; a row is zero without a vector
    times_ms  (M + 1,) int64 Unix ms, ascending: the moments
    """

    works: Vocabulary
    vectors: NDArray[Any]
    past: NDArray[Any] | None = None
    times_ms: NDArray[Any] = field(default_factory=lambda: np.array([ALWAYS_MS]))

    def codes(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 rows of ``vectors`` of item ids, 0 for an item without a vector."""
        return encode_known(self.works, ids)

    @computed_once
    def all_vectors(self) -> NDArray[Any]:
        """(R, D) float32: ``vectors``, then those of the past moments."""
        if self.past is None:
            return self.vectors
        return np.concatenate([self.vectors, self.past.reshape(-1, self.vectors.shape[1])])

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
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CowatchVectors:
        """Returns the vectors of ``to_arrays``. Raises ValueError for another shape or a value that is not
        finite."""
        works = read_vocabulary(arrays, "cowatch.works")
        n = len(works) + 1
        vectors = _read_vectors(arrays, "cowatch.vectors", f"({n}, D)", lambda shape: shape[:-1] == (n,))
        if "cowatch.past" not in arrays:
            return cls(works, vectors)
        expected = f"(M, {n}, {vectors.shape[1]})"
        past = _read_vectors(
            arrays, "cowatch.past", expected, lambda shape: len(shape) == 3 and shape[1:] == vectors.shape
        )
        times = arrays.get("cowatch.times_ms", np.empty(0))
        if times.dtype != np.int64 or times.shape != (len(past) + 1,) or (np.diff(times) <= 0).any():
            raise ValueError(f"table 'cowatch.times_ms' is not {len(past) + 1} ascending int64")
        return cls(works, vectors, past, times)


def _read_vectors(
    arrays: Mapping[str, NDArray[Any]], name: str, expected: str, fits: Callable[[tuple[int, ...]], bool]
) -> NDArray[Any]:
    vectors = arrays.get(name)
    if vectors is None or not fits(vectors.shape) or vectors.dtype != np.float32:
        actual = "is missing" if vectors is None else f"is {vectors.dtype} {vectors.shape}"
        raise ValueError(f"table {name!r} {actual}, expected float32 {expected}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"table {name!r} has a number that is not finite")
    return vectors
