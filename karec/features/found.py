"""Which items a search of the index would find: those that it knows and does not block, whatever their
vectors."""

from __future__ import annotations

import numpy as np

from karec._view import IndexView
from karec.types import Array


def is_found(view: IndexView, dim: int, ids: Array) -> Array:
    """(N,) bool of ``ids (N,)`` in an index of ``dim`` dimensions: a score is −∞ where a search skips.
    O(N·D)."""
    if not view.model_versions:
        return np.zeros(len(ids), bool)
    nothing = np.zeros(dim, np.float32)
    return np.isfinite(view.scores(ids=ids, query_by_version=dict.fromkeys(view.model_versions, nothing)))
