"""Items that the same users enjoy: the inner product y·y_i of ALS factors (``karec.features.cowatch``).

Factors of popular items are long, so the order by cosine is another one. It finds fewer of the items that
users enjoy together: see docs/notebook/2026-11-30-similar-items.md.

Cost  O(N·F) for N items with F factors; O(N·D) more for an item without factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.cowatch import CowatchVectors
from karec.index import IndexView

ROWS = 1 << 16  # vectors that are read at once


def similar_items(
    cowatch: CowatchVectors | None, view: IndexView, item: int, k: int, is_allowed: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns ids and scores (≤ k,) of the items with the largest inner product with ``item``, best first.

    Only items of rows with True in ``is_allowed`` (n_rows,) are returned, and not ``item``. If fewer than
    ``k`` items have factors, or ``item`` has none, other items of its model version follow: their score is
    the cosine of the vectors in ``view``, minus 2, plus the lowest score before. Without factors of ``item``
    it is the cosine.

    Args:
        cowatch: factors of the items; None: there are none.

    Raises:
        ValueError: ``view`` lacks the item.
    """
    (row,) = view.lookup(np.array([item]))
    if row < 0:
        raise ValueError("the item is not in the index")
    is_left = is_allowed.copy()
    is_left[row] = False
    ids, scores = _by_factors(cowatch, view, item, k, is_left)
    is_left[view.lookup(ids)] = False
    if len(ids) < k and is_left.any():
        found = _by_vectors(view, int(row), k - len(ids), is_left)
        below = (scores[-1] if len(scores) else 2.0) - 2.0
        ids, scores = np.append(ids, found[0]), np.append(scores, found[1] + below)
    return ids, scores.astype(np.float32)


def _by_factors(
    cowatch: CowatchVectors | None, view: IndexView, item: int, k: int, is_left: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    none = np.empty(0, np.int64), np.empty(0, np.float32)
    if cowatch is None or cowatch.als is None:
        return none
    (code,) = cowatch.codes(np.array([item]))
    if code == 0:
        return none
    factors, ids = cowatch.als.vectors[0], cowatch.works.keys
    rows = np.asarray(view.lookup(ids))
    places = np.flatnonzero((rows >= 0) & is_left[rows])
    scores = (factors[1:] @ factors[code])[places]
    best = np.argsort(-scores, kind="stable")[:k]
    return ids[places[best]], scores[best]


def _by_vectors(
    view: IndexView, row: int, k: int, is_left: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns ids and cosines of the ``k`` nearest items of the item's model version."""
    rows = np.flatnonzero(is_left)
    own = np.array([row])
    rows = rows[view.model_versions_of(rows) == view.model_versions_of(own)]
    vector = view.embeddings(own)[0]
    cosines = np.empty(len(rows), np.float32)
    for begin in range(0, len(rows), ROWS):
        vectors = view.embeddings(rows[begin : begin + ROWS])
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
        cosines[begin : begin + ROWS] = (vectors @ vector) / np.maximum(lengths, 1e-12)
    best = np.argsort(-cosines, kind="stable")[:k]
    return view.ids[rows[best]], cosines[best]
