"""Gains of a DPP with a window, shown items and types."""

from __future__ import annotations

import numpy as np
import pytest
from dpp_problems import SELECT_KERNEL, every_solver, generic

from karec.diversity import DiversityResult
from karec.kernels import reference


@every_solver
def test_dpp_window_of_k_or_more_has_no_effect(solver: str) -> None:
    problem = generic(3)
    for window in (problem.k, problem.k + 1, 10**6):
        with_window, without = problem.solve(solver, window=window), problem.solve(solver)
        np.testing.assert_array_equal(with_window.indices, without.indices)
        np.testing.assert_array_equal(with_window.gains, without.gains)


@every_solver
def test_dpp_window_of_one_is_top_k_by_first_gain(solver: str) -> None:
    problem = generic(4)
    np.testing.assert_array_equal(
        problem.solve(solver, window=1).indices, reference.top_k(problem.relevance, 20)
    )


@every_solver
@pytest.mark.parametrize("type_weight", [0.0, 0.4])
def test_dpp_conditions_on_shown_items(solver: str, type_weight: float) -> None:
    problem = generic(5, types=np.arange(60) % 3, type_weight=type_weight)
    shown = np.random.default_rng(9).standard_normal((4, 8)).astype(np.float32)
    f, g = reference.unit(problem.embeddings), reference.unit(shown)
    q = np.exp(problem.log_q)
    across = (1 - type_weight) * q[:, None] * (f @ g.T)
    among = (1 - type_weight) * (g @ g.T) + 1e-2 * np.eye(4)
    conditioned = problem.kernel() - across @ np.linalg.inv(among) @ across.T
    expected = DiversityResult(*reference.dpp_select_kernel(conditioned, problem.k))
    result = problem.solve(solver, shown=shown)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6)


@every_solver
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("ridge", [0.0, 1e-2, 2.0])
@pytest.mark.parametrize("n_types", [2, 20, 60])
def test_dpp_types_equal_one_hot_features(
    solver: str, n_types: int, ridge: float, window: int | None
) -> None:
    problem = generic(
        6, types=np.arange(60) % n_types, type_weight=0.5, ridge=ridge, window=window, fill=None
    )
    expected = SELECT_KERNEL[solver](problem.kernel(), problem.k, window=window)
    result = problem.solve(solver)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("n_types", [3, 200, 1500])
@pytest.mark.parametrize("window", [None, 8])
def test_dpp_with_many_types_selects_as_the_explicit_kernel(n_types: int, window: int | None) -> None:
    """More picks than dimensions, so that residuals become matrices; types with one item and types with
    many."""
    types = np.random.default_rng(n_types).integers(0, n_types, 1500)
    problem = generic(12, n=1500, dim=12, k=150, types=types, type_weight=0.3, window=window)
    expected = SELECT_KERNEL["native"](problem.kernel(), problem.k, window=window)
    result = problem.solve("native")
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6)


@every_solver
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("type_weight", [0.0, 0.4])
def test_dpp_accepts_more_shown_items_than_dimensions(
    solver: str, type_weight: float, window: int | None
) -> None:
    rng = np.random.default_rng(11)
    problem = generic(8, types=np.arange(60) % 3, type_weight=type_weight)
    shown = rng.standard_normal((40, 8)).astype(np.float32)
    f, g = reference.unit(problem.embeddings), reference.unit(shown)
    q = np.exp(problem.log_q)
    across = (1 - type_weight) * q[:, None] * (f @ g.T)
    among = (1 - type_weight) * (g @ g.T) + 1e-2 * np.eye(40)
    conditioned = problem.kernel() - across @ np.linalg.inv(among) @ across.T
    expected = DiversityResult(*reference.dpp_select_kernel(conditioned, problem.k, window=window))
    result = problem.solve(solver, shown=shown, window=window)
    assert result.n_dpp == len(expected.indices) == problem.k
    q2 = q[result.indices] ** 2
    np.testing.assert_allclose(result.gains, expected.gains, atol=1e-5 * q2.max())
