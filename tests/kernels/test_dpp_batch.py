"""dpp_select_batch selects for each user as dpp_select does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import diversity


def _users(rng: np.random.Generator) -> tuple[NDArray[np.float32], dict[str, Any], NDArray[np.int64]]:
    n_of = [30, 0, 3, 70]
    indptr = np.concatenate([[0], np.cumsum(n_of)])
    n = int(indptr[-1])
    columns = {
        "relevance": rng.standard_normal(n).astype(np.float32),
        "weights": rng.random(n).astype(np.float32),
        "types": rng.integers(0, 3, n),
    }
    return rng.standard_normal((n, 8)).astype(np.float32), columns, indptr


def test_dpp_batch_equals_single_selections() -> None:
    rng = np.random.default_rng(0)
    embeddings, columns, indptr = _users(rng)
    shown, shown_indptr = rng.standard_normal((5, 8)).astype(np.float32), np.array([0, 2, 2, 5, 5])
    options = {"type_weight": 0.2, "min_per_type": 1, "max_per_type": 4, "window": 6, "diversity": 0.6}
    batch = diversity.dpp_select_batch(
        embeddings, indptr=indptr, k=7, shown=shown, shown_indptr=shown_indptr, **columns, **options
    )
    assert batch.indices.shape == batch.gains.shape == (4, 7)
    for user, (first, end) in enumerate(pairwise(indptr)):
        own = {name: column[first:end] for name, column in columns.items()}
        seen = shown[shown_indptr[user] : shown_indptr[user + 1]]
        alone = diversity.dpp_select(embeddings[first:end], k=7, shown=seen, **own, **options)
        n = len(alone.indices)
        np.testing.assert_array_equal(batch.indices[user, :n], alone.indices + first)
        np.testing.assert_array_equal(batch.gains[user, :n], alone.gains)
        assert (batch.indices[user, n:] == -1).all() and not batch.gains[user, n:].any()
        assert batch.log_det[user] == alone.log_det and batch.n_dpp[user] == alone.n_dpp


def test_dpp_batch_is_as_wide_as_its_longest_list() -> None:
    embeddings, columns, indptr = _users(np.random.default_rng(1))
    batch = diversity.dpp_select_batch(embeddings, indptr=indptr, k=2**62, **columns)
    assert batch.indices.shape == batch.gains.shape == (4, 70)
    assert (batch.indices[:, -1] >= 0).tolist() == [False, False, False, True]
    none = diversity.dpp_select_batch(embeddings[:0], [], [0, 0, 0], 5)
    assert none.indices.shape == none.gains.shape == (2, 0) and none.n_dpp.tolist() == [0, 0]
    assert diversity.dpp_select_batch(embeddings[:0], [], [0], 5).indices.shape == (0, 0)
