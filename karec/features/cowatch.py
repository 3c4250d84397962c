"""Co-watch vectors: items are near each other if the same users watched them.

``karec.learn.fit.cowatch`` makes the vectors before training, and the encoder stores them. Cross features are
the cosines of a candidate with the items that the user watched or skipped. An item that too few users watched
has no vector, and its cosines are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.vocabulary import Vocabulary, encode_known, read_vocabulary

CROSSES = ("cowatch_history_max", "cowatch_history_mean", "cowatch_skipped_mean")


@dataclass(frozen=True, eq=False)
class CowatchVectors:
    """Vectors of K items.

    works    ids of the items with a vector
    vectors  (K + 1, D) float32 of length 1, by code; row 0 is zero
    """

    works: Vocabulary
    vectors: NDArray[Any]

    def codes(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 rows of ``vectors`` of item ids, 0 for an item without a vector."""
        return encode_known(self.works, ids)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {"cowatch.works": self.works.keys, "cowatch.vectors": self.vectors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CowatchVectors:
        """Returns the vectors of ``to_arrays``. Raises ValueError for another shape or a value that is not
        finite."""
        works, vectors = read_vocabulary(arrays, "cowatch.works"), arrays.get("cowatch.vectors")
        if (
            vectors is None
            or vectors.ndim != 2
            or len(vectors) != len(works) + 1
            or vectors.dtype != np.float32
        ):
            actual = "is missing" if vectors is None else f"is {vectors.dtype} {vectors.shape}"
            raise ValueError(f"table 'cowatch.vectors' {actual}, expected float32 ({len(works) + 1}, D)")
        if not np.isfinite(vectors).all():
            raise ValueError("table 'cowatch.vectors' holds a number that is not finite")
        return cls(works, vectors)
