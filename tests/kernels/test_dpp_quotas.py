"""Quotas of types, and the fill that goes on where no item adds anything."""

from __future__ import annotations

import numpy as np
import pytest
from dpp_problems import SELECT, SELECT_KERNEL, every_solver, generic

from karec.kernels import reference


@every_solver
def test_dpp_without_ridge_ends_at_the_rank_and_fills(solver: str) -> None:
    problem = generic(7, dim=6, k=20, ridge=0.0)
    result = problem.solve(solver)
    assert result.n_dpp == 6 and len(result.indices) == 20
    rest = [i for i in reference.top_k(problem.relevance, 60) if i not in set(result.indices[:6].tolist())]
    np.testing.assert_array_equal(result.indices[6:], rest[:14])
    assert len(problem.solve(solver, fill=None).indices) == 6
    assert SELECT_KERNEL[solver](problem.kernel(), 20).n_dpp == 6


@every_solver
def test_dpp_keeps_max_per_type(solver: str) -> None:
    types = np.repeat([5, -7, 5, 5], 15)
    problem = generic(8, types=types, max_per_type=4)
    chosen = problem.solve(solver).indices
    assert [np.count_nonzero(types[chosen] == t) for t in (5, -7)] == [4, 4] and len(chosen) == 8


@every_solver
@pytest.mark.parametrize("fill", ["relevance", None])
def test_dpp_keeps_min_per_type(solver: str, fill: str | None) -> None:
    types = np.repeat([5, -7, 2], [55, 4, 1])
    problem = generic(8, k=12, types=types, min_per_type=3, fill=fill, window=None)
    problem.relevance[55:] -= 5
    free = problem.solve(solver, min_per_type=0).indices
    owed = problem.solve(solver).indices
    assert [np.count_nonzero(types[free] == t) for t in (5, -7, 2)] == [12, 0, 0]
    assert [np.count_nonzero(types[owed] == t) for t in (5, -7, 2)] == [8, 3, 1]
    np.testing.assert_array_equal(owed[:8], free[:8])
    both = problem.solve(solver, max_per_type=6).indices
    assert np.count_nonzero(types[both] == 5) == 6


@every_solver
def test_dpp_with_too_large_minimums_orders_by_gain(solver: str) -> None:
    problem = generic(12, k=4, types=np.arange(60) % 6, min_per_type=1)
    types = np.arange(60) % 6
    chosen = problem.solve(solver).indices
    assert len(set(types[chosen].tolist())) == 4


@every_solver
def test_dpp_fill_keeps_min_per_type(solver: str) -> None:
    copies = np.ones((12, 3), np.float32)
    types = np.repeat([0, 1], [10, 2])
    result = SELECT[solver](
        copies, np.arange(12, 0, -1, dtype=np.float32), 5, ridge=0.0, types=types, min_per_type=2
    )
    assert result.n_dpp == 1 and result.indices.tolist() == [0, 1, 2, 10, 11]
