"""The item vectors of the candidates and of what the session has seen, in a space where they can be compared."""

from __future__ import annotations

import numpy as np

from karec.types import Array, Candidates, Request


def vectors_of(request: Request, candidates: Candidates) -> tuple[Array, Array, Array]:
    """(N, D) of the candidates, (M, D) of those works of ``request.shown`` that the index knows, and their (M,) ids.

    A candidate without a row has a zero vector. Vectors of different model versions have nothing in common, so where
    there are V of them, each version gets dimensions of its own (V·D in all): their cosine is 0.
    """
    index = request.index
    shown_ids = np.array(request.shown, np.int64)
    shown_rows = index.lookup(shown_ids)
    known = shown_rows >= 0
    rows = np.concatenate([candidates.rows, shown_rows[known]]) if known.any() else candidates.rows
    vectors = index.embeddings(rows)
    if len(index.model_versions) > 1:
        vectors = _apart(vectors, index.model_versions_of(rows))
    return vectors[: len(candidates)], vectors[len(candidates) :], shown_ids[known]


def _apart(vectors: Array, versions: Array) -> Array:
    """(N, D) and (N,) → (N, V·D): each row in the block of its version."""
    standing, block = np.unique(versions, return_inverse=True)
    n, dim = vectors.shape
    out = np.zeros((n, len(standing), dim), np.float32)
    out[np.arange(n), block] = vectors
    return out.reshape(n, -1)
