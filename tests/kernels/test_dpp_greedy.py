"""Greedy DPP in C++ and in the float64 reference: each pick is the best one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from dpp_problems import (
    SELECT,
    TOLERANCE,
    Problem,
    assert_greedy,
    conditional_by_determinants,
    every_solver,
    generic,
    log_det,
    problems,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.kernels import reference


@every_solver
@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_dpp_pick_has_the_largest_conditional_gain(solver: str, problem: Problem) -> None:
    result = problem.solve(solver)
    window = problem.options["window"]
    window = None if window is None or window >= min(problem.k, problem.n) else window
    assert_greedy(result, problem.unit_kernel(), np.exp(2 * problem.log_q), window)
    assert len(result.indices) == min(problem.k, problem.n) == len(set(result.indices.tolist()))
    assert np.all(np.isfinite(result.gains)) and not result.gains[result.n_dpp :].any()
    assert result.log_det == pytest.approx(np.log(result.gains[: result.n_dpp]).sum(), abs=1e-3)


@every_solver
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True))
def test_dpp_gains_fall_and_sum_to_the_log_determinant(solver: str, problem: Problem) -> None:
    result = problem.solve(solver, fill=None)
    q2 = np.exp(2 * problem.log_q)[result.indices]
    assert len(result.indices) == result.n_dpp
    assert np.all(np.diff(result.gains) <= TOLERANCE * q2[1:])
    expected = (
        log_det(problem.unit_kernel(), result.indices.tolist()) + 2 * problem.log_q[result.indices].sum()
    )
    smallest = (result.gains / q2).min(initial=1.0)
    assert result.log_det == pytest.approx(expected, abs=1e-6 + 1e-10 * len(q2) / smallest)


@pytest.mark.parametrize("seed", range(5))
def test_dpp_selects_as_the_reference_if_no_gains_are_close(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    options = {
        "types": rng.integers(0, 4, 60),
        "type_weight": 0.3,
        "weights": rng.random(60).astype(np.float32),
        "shown": rng.standard_normal((3, 8)).astype(np.float32),
        "max_per_type": 5,
    }
    for window in (None, 6):
        expected = generic(seed, **options, window=window).solve("reference")
        result = generic(seed, **options, window=window).solve("native")
        np.testing.assert_array_equal(result.indices, expected.indices)
        np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6, atol=1e-12)
        assert result.n_dpp == expected.n_dpp
        assert result.log_det == pytest.approx(expected.log_det, rel=1e-6)


@every_solver
def test_dpp_selection_of_k_is_a_prefix_of_k_plus_one(solver: str) -> None:
    problem = generic(1, k=20)
    longest = problem.solve(solver).indices
    for k in (1, 7, 19):
        np.testing.assert_array_equal(
            SELECT[solver](problem.embeddings, problem.relevance, k).indices, longest[:k]
        )


@every_solver
def test_dpp_ignores_input_order_and_vector_length(solver: str) -> None:
    problem = generic(2)
    expected = problem.solve(solver)
    shuffle = np.random.default_rng(0).permutation(problem.n)
    scale = np.exp2(np.random.default_rng(1).integers(-20, 20, problem.n)).astype(np.float32)[:, None]
    result = SELECT[solver]((problem.embeddings * scale)[shuffle], problem.relevance[shuffle], problem.k)
    np.testing.assert_array_equal(shuffle[result.indices], expected.indices)


@every_solver
def test_dpp_diversity_0_is_top_k_and_1_ignores_relevance(solver: str) -> None:
    problem = generic(9)
    by_relevance = reference.top_k(problem.relevance, problem.k)
    np.testing.assert_array_equal(problem.solve(solver, diversity=0.0).indices, by_relevance)
    np.testing.assert_array_equal(problem.solve(solver, diversity=1e-9).indices, by_relevance)
    flat = Problem(problem.embeddings, np.zeros(60, np.float32), problem.k)
    np.testing.assert_array_equal(problem.solve(solver, diversity=1.0).indices, flat.solve(solver).indices)


@every_solver
def test_dpp_breaks_ties_by_index(solver: str) -> None:
    axes = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    result = SELECT[solver](axes, np.zeros(15, np.float32), 7)
    np.testing.assert_array_equal(result.indices, [0, 3, 6, 9, 12, 1, 4])


def test_dpp_without_ridge_equals_pivoted_qr() -> None:
    problem = generic(3, n=400, dim=24, k=24, ridge=0.0)
    columns = np.exp(problem.log_q)[:, None] * reference.unit(problem.embeddings)
    pivots = scipy.linalg.qr(columns.T, pivoting=True, mode="economic")[2]
    np.testing.assert_array_equal(problem.solve("native").indices, pivots[:24])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", [1, 7, 64, 100])
def test_dpp_equals_a_greedy_by_determinants(dim: int, dtype: type) -> None:
    problem = generic(20 + dim, n=40, dim=dim, k=12)
    problem.embeddings = problem.embeddings.astype(dtype)
    kernel = problem.kernel()
    picks: list[int] = []
    for _ in range(12):
        gains = conditional_by_determinants(kernel, picks)
        picks.append(int(np.argmax(gains)))
    result = problem.solve("native")
    if dim > 1:
        np.testing.assert_array_equal(result.indices, picks)
    assert_greedy(result, problem.unit_kernel(), np.exp(2 * problem.log_q), None)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(40, 5), (40, 16), (30, 64), (12, 3)]),
    window=st.sampled_from([None, 4]),
    alike=st.booleans(),
)
def test_dpp_of_16_bit_vectors_is_within_tolerance(
    seed: int, shape: tuple[int, int], window: int | None, alike: bool
) -> None:
    problem = generic(seed, *shape, k=20, window=window)
    if alike:
        problem.embeddings[1::2] = problem.embeddings[::2] + 0.05 * problem.embeddings[1::2]
    result = SELECT["native"](
        problem.embeddings.astype(np.float16), problem.relevance, problem.k, window=window
    )
    assert_greedy(result, problem.unit_kernel(), np.exp(2 * problem.log_q), window, tolerance=5e-3)
