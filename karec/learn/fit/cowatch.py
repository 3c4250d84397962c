"""Co-watch vectors: items that the same users watched before the training days have similar vectors.

    A_ui = B_ui / √(Σ_i B_ui · Σ_u B_ui)    B (users × items): 1 if item i is in the history of user u, else 0
    A ≈ U Σ Vᵀ of rank D; the vector of item i is Σ V_i, scaled to length 1

Cost     O(P·D) per pass over the P entries of B, a few passes; memory O(P + (users + items)·D).
Source   B. Sarwar et al., Application of dimensionality reduction in recommender systems, 2000 (the idea); N.
         Halko et al., Finding structure with randomness, SIAM Review 53 (2011) (the decomposition).
"""

from __future__ import annotations

import numpy as np

from karec.catalog.snapshot import Snapshot
from karec.features.cowatch import CowatchVectors
from karec.features.vocabulary import Vocabulary
from karec.learn._torch import torch

DIMENSIONS = 64
MIN_WATCHERS = 5  # watchers per item; with fewer the vector is noise
OVERSAMPLED, ITERATIONS = 16, 6


def fit_cowatch(snapshot: Snapshot, seed: int = 0) -> CowatchVectors | None:
    """Returns vectors of items with MIN_WATCHERS watchers, or None for at most DIMENSIONS items."""
    history = snapshot.relations.get("history")
    if history is None:
        return None
    users = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    pairs = np.unique(np.stack([users, np.asarray(history.values)]), axis=1)
    ids, column, watchers = np.unique(pairs[1], return_inverse=True, return_counts=True)
    has_watchers = (watchers >= MIN_WATCHERS) & (ids >= 0)
    if has_watchers.sum() <= DIMENSIONS:
        return None
    is_kept = has_watchers[column]
    user, item = pairs[0][is_kept], (np.cumsum(has_watchers) - 1)[column[is_kept]]
    weight = 1.0 / np.sqrt(np.bincount(user)[user] * np.bincount(item)[item])
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([user, item])),
        torch.from_numpy(weight.astype(np.float32)),
        (len(history), int(has_watchers.sum())),
        check_invariants=True,
    ).coalesce()
    rank = min(DIMENSIONS + OVERSAMPLED, *matrix.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, singular_values, v = torch.svd_lowrank(matrix, q=rank, niter=ITERATIONS)
    vectors = (v * singular_values)[:, :DIMENSIONS].numpy()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.concatenate(
        [np.zeros((1, vectors.shape[1]), np.float32), vectors / np.maximum(lengths, 1e-12)]
    )
    return CowatchVectors(Vocabulary(ids[has_watchers]), vectors.astype(np.float32))
