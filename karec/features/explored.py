"""Works that a request explores: drawn once, and kept by the selectors of prerank and rank whatever their
score.

A request may have the feature ``explored (1, E) int64``: ids of works, ``NOBODY`` where there are fewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.pipeline.types import Candidates, Request

EXPLORED = "explored"
NOBODY = np.iinfo(np.int64).min


def explored_ids(request: Request) -> NDArray[Any]:
    """(≤ E,) ids, in the order of the draw; none where the request explores nothing."""
    ids = request.features.get(EXPLORED)
    if ids is None:
        return np.empty(0, np.int64)
    return np.asarray(ids[0][ids[0] != NOBODY])


def explored_places(request: Request, candidates: Candidates) -> NDArray[Any]:
    """(≤ E,) int64 places of the explored works among the candidates, in the order of the draw. O(N·E)."""
    if EXPLORED not in request.features:
        return np.empty(0, np.int64)
    found = [np.flatnonzero(candidates.ids == work)[:1] for work in explored_ids(request)]
    return np.concatenate([np.empty(0, np.int64), *found])


def with_room(chosen: NDArray[Any], explored: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(which of ``chosen`` (n ≤ k,) stay, which of ``explored`` come in besides): at most k in all.

    The last of the chosen that are not explored make room.
    """
    coming = np.setdiff1d(explored, chosen)[:k]
    others = np.flatnonzero(~np.isin(chosen, explored))
    leaving = others[len(others) - min(max(len(chosen) + len(coming) - k, 0), len(others)) :]
    staying = np.delete(np.arange(len(chosen)), leaving)
    return staying, coming[: k - len(staying)]
