"""A DPP with facets selects as with its explicit kernel, in single selections and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dpp_problems import SELECT, SELECT_KERNEL, every_solver
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.diversity import dpp_select, dpp_select_kernel
from karec.kernels import reference

RIDGE = 1e-2


def make_problem(seed: int, n: int, n_shown: int, weights: list[float]) -> tuple[np.ndarray, ...]:
    """Returns vectors (n, 5), relevance, facets, shown (M, 5), shown_facets."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(-1, rng.integers(1, n), n + n_shown) for _ in weights])
    vectors = rng.standard_normal((n + n_shown, 5)).astype(np.float32)
    relevance = rng.standard_normal(n).astype(np.float32)
    return vectors[:n], relevance, codes[:, :n], vectors[n:], codes[:, n:]


@every_solver
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 40),
    n_shown=st.integers(0, 6),
    weights=st.sampled_from([[0.3], [0.3, 0.2, 0.2], [0.5, 0.5], [1.0], [0.05, 0.9]]),
)
def test_dpp_facets_equal_their_explicit_kernel(
    solver: str, seed: int, n: int, n_shown: int, weights: list[float]
) -> None:
    vectors, relevance, facets, shown, shown_facets = make_problem(seed, n, n_shown, weights)
    both = np.concatenate([shown, vectors])
    unit = reference.similarity(
        both, np.concatenate([shown_facets, facets], axis=1), weights
    ) + RIDGE * np.eye(len(both))
    across = unit[n_shown:, :n_shown]
    residual = unit[n_shown:, n_shown:] - across @ np.linalg.solve(unit[:n_shown, :n_shown], across.T)
    q = np.exp(reference.log_qualities(relevance, 0.5, None))
    expected = SELECT_KERNEL[solver](q[:, None] * residual * q, n)
    options = {"shown": shown, "shown_facets": shown_facets} if n_shown else {}
    result = SELECT[solver](vectors, relevance, n, facets=facets, facet_weights=weights, fill=None, **options)
    # Gains are compared in float32, so items of equal gain to 1e-5·q² may change places.
    differences = np.flatnonzero(
        result.indices[: len(expected.indices)] != expected.indices[: len(result.indices)]
    )
    n_equal = differences[0] if len(differences) else min(len(result.indices), len(expected.indices))
    np.testing.assert_allclose(result.gains[:n_equal], expected.gains[:n_equal], rtol=1e-5, atol=1e-9)
    if n_equal < min(len(result.indices), len(expected.indices)):
        assert result.gains[n_equal] == pytest.approx(
            expected.gains[n_equal], abs=1e-5 * q[result.indices[n_equal]] ** 2
        )


N_MANY, K_MANY = 1500, 300
MANY: dict[str, dict[str, Any]] = {
    "2 types": {"types": 2},
    "as many types as items, drawn": {"types": N_MANY},
    "a type for each item": {"types": None},
    "three facets": {"facets": (N_MANY // 2, 50, N_MANY // 4)},
}


@pytest.mark.parametrize("name", MANY)
def test_dpp_of_many_picks_equals_the_explicit_kernel(name: str) -> None:
    """More picks than dimensions, and many picks with equal values."""
    rng = np.random.default_rng(11)
    vectors = rng.standard_normal((N_MANY, 16)).astype(np.float32)
    relevance = rng.standard_normal(N_MANY).astype(np.float32)
    case = MANY[name]
    options: dict[str, Any]
    if "facets" in case:
        codes = np.stack([rng.integers(0, values, N_MANY) for values in case["facets"]])
        weights = [0.3, 0.2, 0.2]
        options = {"facets": codes, "facet_weights": weights}
    else:
        codes = rng.permutation(N_MANY) if case["types"] is None else rng.integers(0, case["types"], N_MANY)
        codes, weights = codes[None], [0.2]
        options = {"types": codes[0], "type_weight": 0.2}
    q = np.exp(reference.log_qualities(relevance, 0.5, None))
    similarity = reference.similarity(vectors, codes, weights) + RIDGE * np.eye(N_MANY)
    expected = dpp_select_kernel(q[:, None] * similarity * q, K_MANY)
    result = dpp_select(vectors, relevance, K_MANY, alpha=0.5, **options)
    # Gains are compared in float32, so items of equal gain to 1e-5·q² may change places. Then the rest
    # differs.
    differences = np.flatnonzero(result.indices != expected.indices)
    n_equal = differences[0] if len(differences) else K_MANY
    np.testing.assert_allclose(result.gains[:n_equal], expected.gains[:n_equal], rtol=1e-5, atol=1e-9)
    if n_equal < K_MANY:
        assert result.gains[n_equal] == pytest.approx(
            expected.gains[n_equal], abs=1e-5 * q[result.indices[n_equal]] ** 2
        )
    assert n_equal > K_MANY // 2
