"""Co-watch vectors: works that the same users watched before training days have similar vectors.

    A_uw = B_uw / √(Σ_w B_uw · Σ_u B_uw)      B (users × works) is 1 where the work is in the user's history,
                                              else 0
    A ≈ U Σ Vᵀ of rank D; the vector of w is Σ V_w, scaled to unit length

Cost     O(P·D) a pass over the P entries of B, a few passes; memory O(P + (users + works)·D).
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
FEWEST = 5  # watchers of a work; with fewer its vector is noise
OVERSAMPLED, ITERATIONS = 16, 6


def fit_cowatch(snapshot: Snapshot, seed: int = 0) -> CowatchVectors | None:
    """Vectors of the works in the snapshot's histories; None unless more than DIMENSIONS works have FEWEST
    watchers."""
    history = snapshot.relations.get("history")
    if history is None:
        return None
    users = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    pairs = np.unique(np.stack([users, np.asarray(history.values)]), axis=1)
    ids, column, watchers = np.unique(pairs[1], return_inverse=True, return_counts=True)
    kept = (watchers >= FEWEST) & (ids >= 0)
    if kept.sum() <= DIMENSIONS:
        return None
    of_kept = kept[column]
    user, work = pairs[0][of_kept], (np.cumsum(kept) - 1)[column[of_kept]]
    weight = 1.0 / np.sqrt(np.bincount(user)[user] * np.bincount(work)[work])
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([user, work])),
        torch.from_numpy(weight.astype(np.float32)),
        (len(history), int(kept.sum())),
        check_invariants=True,
    ).coalesce()
    rank = min(DIMENSIONS + OVERSAMPLED, *matrix.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, spread, v = torch.svd_lowrank(matrix, q=rank, niter=ITERATIONS)
    vectors = (v * spread)[:, :DIMENSIONS].numpy()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.concatenate(
        [np.zeros((1, vectors.shape[1]), np.float32), vectors / np.maximum(lengths, 1e-12)]
    )
    return CowatchVectors(Vocabulary(ids[kept]), vectors.astype(np.float32))
