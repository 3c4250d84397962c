"""Scoring with top-k in Numba against the float64 reference, and bit for bit against the C++ library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.index import ItemIndex
from karec.kernels import reference, scoring
from karec.kernels.scoring import score_top_k


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    dim=st.integers(1, 130),
    k=st.integers(1, 400),
    dtype=st.sampled_from([np.float16, np.float32]),
    has_ties=st.booleans(),
)
def test_score_top_k_has_the_bits_of_the_index(
    seed: int, n: int, dim: int, k: int, dtype: Any, has_ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.integers(-1, 2, (n, dim)) if has_ties else rng.standard_normal((n, dim))).astype(dtype)
    query = (rng.integers(-1, 2, dim) if has_ties else rng.standard_normal(dim)).astype(np.float32)
    rows = rng.integers(0, n, 2 * n)
    index = ItemIndex.build(np.arange(n), vectors, dtype=np.dtype(dtype).name)  # type: ignore[arg-type]
    for given_rows in (None, rows):
        expected = index.search(query, rows=np.arange(n) if given_rows is None else rows, k=k)
        scores, positions = score_top_k(vectors, query, k, given_rows)
        assert positions.tolist() == expected.positions.tolist()
        assert scores.tobytes() == expected.scores.tobytes()


@pytest.mark.parametrize("block_rows", [7, 64])
def test_score_top_k_matches_the_reference(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BLOCK_ROWS", block_rows)
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((200, 24)).astype(np.float32), rng.standard_normal(24)
    rows = rng.permutation(200)[:150]
    exact = reference.scores(vectors, query.astype(np.float32), rows)
    scores, positions = score_top_k(vectors, query, 20, rows)
    assert positions.tolist() == reference.top_k(exact, 20).tolist()
    np.testing.assert_allclose(scores, exact[positions], rtol=1e-5)


def test_score_top_k_puts_nan_last_and_ranks_negative_zero_as_zero() -> None:
    vectors = np.array([[3e38, -3e38], [-1, 0], [0, 0], [-0.0, 0.0]], np.float32)
    scores, positions = score_top_k(vectors, [3e38, 3e38], 4)
    assert positions.tolist() == [2, 3, 1, 0] and scores.tolist()[3] == -np.inf
    assert np.signbit(scores).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": np.zeros(3)}, r"vectors has shape \(3,\), expected \(N, D\)"),
        ({"vectors": np.array([["a"]])}, r"vectors has dtype <U1 and shape \(1, 1\), expected float32"),
        ({"query": [1.0]}, r"query has shape \(1,\), expected \(2,\)"),
        ({"query": [1.0, np.nan]}, "query holds NaN at position 1"),
        ({"rows": [0, 3]}, r"rows holds 3 at position 1, expected 0 to 3 \(exclusive\)"),
        ({"rows": [0.5]}, r"rows has shape \(1,\) and dtype float64, expected \(M,\) integers"),
        ({"k": 0}, "k must be positive, got 0"),
    ],
)
def test_score_top_k_names_the_argument_that_it_rejects(changes: dict[str, Any], message: str) -> None:
    arguments = {"vectors": np.ones((3, 2), np.float32), "query": [1.0, 1.0], "k": 2, **changes}
    with pytest.raises(ValueError, match=message):
        score_top_k(**arguments)
