"""Which items a search of the index would find: those that it knows and does not block, whatever their
vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.pipeline._view import IndexView


def is_found(view: IndexView, dim: int, ids: NDArray[Any]) -> NDArray[Any]:
    """(N,) bool of ``ids (N,)`` in an index of ``dim`` dimensions: a score is −∞ where a search skips.
    O(N·D)."""
    if not view.model_versions:
        return np.zeros(len(ids), bool)
    nothing = np.zeros(dim, np.float32)
    return np.isfinite(view.scores(ids=ids, query_by_version=dict.fromkeys(view.model_versions, nothing)))
