"""Scoring in the C++ library against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec.index import ItemIndex
from karec.kernels import reference


def make(
    seed: int, n: int, dim: int, dtype: str
) -> tuple[NDArray[np.floating], NDArray[np.float32], ItemIndex]:
    """Vectors as the index stores them, a query, and the index."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim)).astype(np.float32).astype(dtype)
    query = rng.standard_normal(dim).astype(np.float32)
    return vectors, query, ItemIndex.build(rng.permutation(n) - n // 2, vectors, dtype=dtype)  # type: ignore[arg-type]


dtypes = st.sampled_from(["float16", "float32"])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 70), dim=st.integers(1, 130), dtype=dtypes)
def test_scores_are_close_to_float64(seed: int, n: int, dim: int, dtype: str) -> None:
    vectors, query, index = make(seed, n, dim, dtype)
    rows = np.random.default_rng(seed).integers(-1, n, 3 * n).astype(np.int32)
    actual = index.scores(query, rows=rows)
    magnitude = np.abs(vectors.astype(np.float64)) @ np.abs(query.astype(np.float64))
    exact = reference.scores(vectors, query, rows)
    known = rows >= 0
    assert np.all(np.isneginf(actual[~known]))
    assert np.all(np.abs(actual[known] - exact[known]) <= 1e-6 * magnitude[rows[known]])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    n_candidates=st.integers(0, 3000),
    k=st.integers(1, 3100),
    levels=st.integers(1, 50),
)
def test_search_is_top_k_with_ties_by_position(
    seed: int, n: int, n_candidates: int, k: int, levels: int
) -> None:
    """Few distinct vectors, so that most scores are tied; k below, at and above the number of candidates."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-levels, levels + 1, (n, 3)).astype(np.float32)
    index = ItemIndex.build(np.arange(n) * 7, vectors)
    rows = rng.integers(-1, n, n_candidates).astype(np.int32)
    query = np.array([1, -1, 2], np.float32)
    result = index.search(query, rows=rows, k=k)
    scores = reference.scores(vectors, query, rows)
    expected = [p for p in reference.top_k(scores, len(rows)) if rows[p] >= 0][:k]
    np.testing.assert_array_equal(result.positions, expected)
    np.testing.assert_array_equal(result.rows, rows[expected])
    np.testing.assert_array_equal(result.ids, rows[expected] * 7)
    np.testing.assert_array_equal(result.scores, scores[expected])
    assert result.n_unknown == np.count_nonzero(rows < 0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_top_k_of_sorted_scores(dtype: str, order: str) -> None:
    """Ascending scores are the worst case of the threshold: every candidate passes it."""
    n = 5000
    scores = np.arange(n, dtype=np.float32) / 4096
    if order == "descending":
        scores = scores[::-1]
    index = ItemIndex.build(np.arange(n), scores[:, None].astype(dtype), dtype=dtype)  # type: ignore[arg-type]
    stored = index.embeddings(np.arange(n))[:, 0]
    result = index.search([1.0], rows=np.arange(n), k=100)
    np.testing.assert_array_equal(result.positions, reference.top_k(stored, 100))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 700),
    n_queries=st.integers(0, 4),
    k=st.integers(1, 50),
    masked=st.booleans(),
    dtype=dtypes,
)
def test_search_of_all_rows_equals_search_of_each_row(
    seed: int, n: int, n_queries: int, k: int, masked: bool, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    index = ItemIndex.build(rng.permutation(n), rng.standard_normal((n, 9)), dtype=dtype)  # type: ignore[arg-type]
    queries = rng.standard_normal((n_queries, 9)).astype(np.float32)
    mask = rng.random(n) < 0.05 if masked else None
    result = index.search(queries, k, mask=mask)
    width = min(k, n)
    assert (
        result.scores.shape
        == result.ids.shape
        == result.rows.shape
        == result.positions.shape
        == (n_queries, width)
    )
    kept = np.arange(n, dtype=np.int32) if mask is None else np.flatnonzero(mask).astype(np.int32)
    for query, scores, ids, rows, positions in zip(
        queries, result.scores, result.ids, result.rows, result.positions, strict=True
    ):
        expected = index.search(query, rows=kept, k=k)
        actual = len(expected.ids)
        np.testing.assert_array_equal(scores[:actual], expected.scores)
        np.testing.assert_array_equal(ids[:actual], expected.ids)
        np.testing.assert_array_equal(rows[:actual], expected.rows)
        np.testing.assert_array_equal(positions, rows)
        assert (
            np.all(np.isneginf(scores[actual:]))
            and np.all(ids[actual:] == -1)
            and np.all(rows[actual:] == -1)
        )
        alone = index.search(query, k, mask=mask)
        np.testing.assert_array_equal(alone.ids, expected.ids)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 900),
    dim=st.integers(1, 90),
    n_queries=st.integers(3, 40),
    k=st.integers(1, 300),
    spread=st.integers(0, 30),
    levels=st.integers(0, 3),
    edits=st.sampled_from([(), ("adjust",), ("block",), ("adjust", "block")]),
    dtype=st.sampled_from(["float16", "float32", "int8"]),
)
def test_search_of_many_queries_equals_single_searches(
    seed: int,
    n: int,
    dim: int,
    n_queries: int,
    k: int,
    spread: int,
    levels: int,
    edits: tuple[str, ...],
    dtype: str,
) -> None:
    """Norms up to 2^spread apart, or few distinct values so that scores are tied; scales and offsets of both
    signs."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim)) * 2.0 ** (-rng.integers(0, spread + 1, (n, 1)))
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    if levels:
        vectors = rng.integers(-levels, levels + 1, (n, dim)).astype(float)
        queries = rng.integers(-1, 2, (n_queries, dim)).astype(np.float32)
    index = ItemIndex.build(np.arange(n), vectors.astype(np.float32), dtype=dtype)  # type: ignore[arg-type]
    if "adjust" in edits:
        index.adjust(np.arange(n), scale=rng.standard_normal(n), offset=rng.standard_normal(n))
    if "block" in edits:
        index.block(rng.permutation(n)[: n // 3])
    together = index.search(queries, k)
    for query, scores, rows in zip(queries, together.scores, together.rows, strict=True):
        alone = index.search(query, k)
        actual = len(alone.rows)
        np.testing.assert_array_equal(scores[:actual].view(np.int32), alone.scores.view(np.int32))
        np.testing.assert_array_equal(rows[:actual], alone.rows)
        assert np.all(rows[actual:] == -1)


def test_overflow_to_nan_scores_as_minus_infinity() -> None:
    index = ItemIndex.build([1, 2], np.array([[3e38, -3e38], [1, 1]], np.float32), dtype="float32")
    scores, ids = index.search([3e38, 3e38], ids=[1, 2], k=2)
    assert ids.tolist() == [2, 1] and scores[1] == -np.inf
    assert index.scores([3e38, 3e38], ids=[1, 2])[0] == -np.inf
