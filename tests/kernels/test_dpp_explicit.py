"""DPP on an explicit kernel."""

from __future__ import annotations

import numpy as np
from dpp_problems import SELECT_KERNEL, Problem, assert_greedy, every_solver, problems
from hypothesis import given, settings
from hypothesis import strategies as st


@every_solver
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True), window=st.sampled_from([None, 1, 2, 4]))
def test_dpp_of_an_explicit_kernel_is_greedy(solver: str, problem: Problem, window: int | None) -> None:
    kernel = problem.kernel()
    result = SELECT_KERNEL[solver](kernel, problem.k, window=window)
    assert len(result.indices) == result.n_dpp == len(set(result.indices.tolist())) <= problem.k
    assert_greedy(result, kernel, np.ones(problem.n), window)
