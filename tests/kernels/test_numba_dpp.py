"""Greedy DPP in Numba against the float64 reference and the C++ library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dpp_problems import Problem, assert_greedy, generic, problems
from hypothesis import given

from karec import diversity
from karec.diversity import DiversityResult
from karec.kernels import dpp, reference


def solve(problem: Problem, **changes: Any) -> DiversityResult:
    options = {**problem.options, **changes}
    alpha = dpp.alpha_of(options.pop("diversity", 0.5))
    return DiversityResult(
        *dpp.dpp_select(problem.embeddings, problem.relevance, problem.k, alpha=alpha, **options)
    )


@given(problem=problems(plain=True))
def test_numba_dpp_takes_the_largest_gain_at_each_step(problem: Problem) -> None:
    for window in (None, 1, 3):
        result = solve(problem, window=window)
        own_window = None if window is None or window >= min(problem.k, problem.n) else window
        assert_greedy(result, problem.unit_kernel(), np.exp(2 * problem.log_q), own_window)
        assert len(result.indices) == min(problem.k, problem.n) == len(set(result.indices.tolist()))


@pytest.mark.parametrize("window", [None, 1, 6, 100])
@pytest.mark.parametrize("seed", range(3))
def test_numba_dpp_selects_as_reference_and_library(seed: int, window: int | None) -> None:
    weights = np.random.default_rng(seed).random(60).astype(np.float32)
    problem = generic(seed, weights=weights, window=window, ridge=0.0, k=20)
    for fill in (True, False):
        result = solve(problem, fill=fill)
        for solver in ("reference", "native"):
            expected = problem.solve(solver, fill="relevance" if fill else None)
            np.testing.assert_array_equal(result.indices, expected.indices)
            np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6, atol=1e-12)
            assert result.n_dpp == expected.n_dpp
            assert result.log_det == pytest.approx(expected.log_det, rel=1e-6)


def test_numba_dpp_without_diversity_is_top_k() -> None:
    problem = generic(9)
    by_relevance = reference.top_k(problem.relevance, problem.k)
    np.testing.assert_array_equal(solve(problem, diversity=0.0).indices, by_relevance)


@pytest.mark.parametrize("name", ["embeddings", "relevance", "weights", "k", "ridge", "alpha", "window"])
def test_numba_dpp_rejects_as_the_library_does(name: str) -> None:
    bad = {"embeddings": np.full((3, 2), np.nan), "relevance": [0, np.inf, 0], "weights": [1, -1, 1], "k": 0}
    bad |= {"ridge": 11.0, "alpha": -1.0, "window": 0}
    vectors = bad["embeddings"] if name == "embeddings" else np.ones((3, 2))
    arguments = {"relevance": np.zeros(3), "k": 2} | ({} if name == "embeddings" else {name: bad[name]})
    messages = []
    for select in (dpp.dpp_select, diversity.dpp_select):
        with pytest.raises(ValueError, match=name) as error:
            select(vectors, **arguments)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
