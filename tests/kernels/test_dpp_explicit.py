"""DPP on an explicit kernel: a matrix, columns on demand, a similarity of one's own."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from dpp_problems import SELECT_KERNEL, Problem, assert_greedy, every_solver, generic, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec import diversity
from karec.diversity import DiversityResult
from karec.kernels import dpp, reference


@every_solver
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True), window=st.sampled_from([None, 1, 2, 4]))
def test_dpp_of_an_explicit_kernel_is_greedy(solver: str, problem: Problem, window: int | None) -> None:
    kernel = problem.kernel()
    result = SELECT_KERNEL[solver](kernel, problem.k, window=window)
    assert len(result.indices) == result.n_dpp == len(set(result.indices.tolist())) <= problem.k
    assert_greedy(result, kernel, np.ones(problem.n), window)


@numba.njit
def _rbf(points: Any, i: int, j: int) -> float:
    total = 0.0
    for d in range(points.shape[1]):
        total += (points[i, d] - points[j, d]) ** 2
    return np.exp(-total)


def _rbf_kernel(points: NDArray[Any], log_q: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    distances = ((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    q = np.exp(log_q)
    return q[:, None] * (np.exp(-distances) + ridge * np.eye(len(q))) * q


@pytest.mark.parametrize("window", [None, 5])
def test_dpp_of_a_similarity_equals_its_explicit_kernel(window: int | None) -> None:
    points = np.random.default_rng(0).random((80, 2))
    relevance = np.random.default_rng(1).standard_normal(80)
    result = DiversityResult(*dpp.dpp_select_similarity(_rbf, points, relevance, 30, window=window))
    kernel = _rbf_kernel(points, reference.log_qualities(relevance, 0.5, None), 1e-2)
    expected = reference.dpp_select_kernel(kernel, 30, window=window)
    np.testing.assert_array_equal(result.indices, expected[0])
    np.testing.assert_allclose(result.gains, expected[1], rtol=1e-8)
    with pytest.raises(ValueError, match="relevance holds NaN at position 0"):
        dpp.dpp_select_similarity(_rbf, points, np.full(80, np.nan), 3)
    with pytest.raises(ValueError, match="is not finite"):
        dpp.dpp_select_similarity(_rbf, np.full((80, 2), np.nan), relevance, 3)


@pytest.mark.parametrize("window", [None, 1, 4])
def test_dpp_of_kernel_columns_equals_the_whole_kernel(window: int | None) -> None:
    kernel = generic(13).kernel()
    kernel = (kernel + kernel.T) / 2
    asked: list[int] = []

    def column(item: int) -> NDArray[np.float64]:
        asked.append(item)
        return kernel[:, item]

    result = diversity.dpp_select_kernel(column, 20, diagonal=np.diag(kernel), window=window)
    expected = diversity.dpp_select_kernel(kernel, 20, window=window)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_array_equal(result.gains, expected.gains)
    assert asked == expected.indices[:-1].tolist()
