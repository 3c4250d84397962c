"""DPP on an explicit kernel: a matrix, or columns on demand."""

from __future__ import annotations

import numpy as np
import pytest
from dpp_problems import SELECT_KERNEL, Problem, assert_greedy, every_solver, generic, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec import diversity


@every_solver
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True), window=st.sampled_from([None, 1, 2, 4]))
def test_dpp_of_an_explicit_kernel_is_greedy(solver: str, problem: Problem, window: int | None) -> None:
    kernel = problem.kernel()
    result = SELECT_KERNEL[solver](kernel, problem.k, window=window)
    assert len(result.indices) == result.n_dpp == len(set(result.indices.tolist())) <= problem.k
    assert_greedy(result, kernel, np.ones(problem.n), window)


@pytest.mark.parametrize("window", [None, 1, 4])
def test_dpp_of_kernel_columns_equals_the_whole_kernel(window: int | None) -> None:
    kernel = generic(13).kernel()
    kernel = (kernel + kernel.T) / 2
    requested: list[int] = []

    def column(item: int) -> NDArray[np.float64]:
        requested.append(item)
        return kernel[:, item]

    result = diversity.dpp_select_kernel(column, 20, diagonal=np.diag(kernel), window=window)
    expected = diversity.dpp_select_kernel(kernel, 20, window=window)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_array_equal(result.gains, expected.gains)
    assert requested == expected.indices[:-1].tolist()
