"""Vectors of works from who watched them, and the cosines of a candidate with what a user watched or passed
over.

The vectors are made before training (``karec.learn.fit.cowatch``) and stored in the encoder. A work that too
few users had watched by then has none, and its cosines are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.vocabulary import Vocabulary, known_codes, stored_vocabulary

CROSSES = ("cowatch_history_max", "cowatch_history_mean", "cowatch_skipped_mean")


@dataclass(frozen=True, eq=False)
class CowatchVectors:
    """``works``: the K works with a vector; ``vectors (K + 1, D) float32``: of length 1, by code, row 0 of
    zeros."""

    works: Vocabulary
    vectors: NDArray[Any]

    def codes(self, ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) int64: the row of ``vectors`` of each work id, 0 for one without a vector."""
        return known_codes(self.works, ids)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"cowatch.works": self.works.keys, "cowatch.vectors": self.vectors}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> CowatchVectors:
        """The vectors that gave ``arrays``; raises ValueError when their lengths differ or a vector is not
        finite."""
        works, vectors = stored_vocabulary(arrays, "cowatch.works"), arrays.get("cowatch.vectors")
        if (
            vectors is None
            or vectors.ndim != 2
            or len(vectors) != len(works) + 1
            or vectors.dtype != np.float32
        ):
            has = "is missing" if vectors is None else f"is {vectors.dtype} {vectors.shape}"
            raise ValueError(f"table 'cowatch.vectors' {has}, expected float32 ({len(works) + 1}, D)")
        if not np.isfinite(vectors).all():
            raise ValueError("table 'cowatch.vectors' holds a number that is not finite")
        return cls(works, vectors)
