"""One conformance suite for greedy DPP over the C++ library, its Numba twin and the NumPy oracle.

Two sequences may differ where float32 cannot tell two gains apart, so a selection is judged step by step: what it
takes must have a true gain (float64, by determinants) within 1e-5·q² of the best one at that step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec import _native, diversity
from karec.diversity import DppResult
from karec.kernels import portable, reference

TOLERANCE = 1e-5
Select = Callable[..., DppResult]


def _as_result(function: Callable[..., Any]) -> Select:
    return lambda *args, **options: DppResult(*function(*args, **options))


def _on(library: Any, function: Select) -> Select:
    def select(*args: Any, **options: Any) -> DppResult:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(diversity, "_native", library)
            return function(*args, **options)

    return select


SELECT: dict[str, Select] = {
    "native": _on(_native, diversity.dpp_select),
    "portable": _on(portable, diversity.dpp_select),
    "reference": _as_result(reference.dpp_select),
}
SELECT_KERNEL: dict[str, Select] = {
    "native": _on(_native, diversity.dpp_select_kernel),
    "portable": _on(portable, diversity.dpp_select_kernel),
    "reference": _as_result(reference.dpp_select_kernel),
}
every_backend = pytest.mark.parametrize("backend", sorted(SELECT))


@dataclass
class Problem:
    embeddings: NDArray[Any]
    relevance: NDArray[np.float32]
    k: int
    options: dict[str, Any] = field(default_factory=dict)

    def solve(self, backend: str, **changes: Any) -> DppResult:
        return SELECT[backend](self.embeddings, self.relevance, self.k, **{**self.options, **changes})

    @property
    def n(self) -> int:
        return len(self.relevance)

    @property
    def log_q(self) -> NDArray[np.float64]:
        alpha = self.options.get("alpha", reference.alpha_of(self.options.get("diversity", 0.5)))
        return reference.log_qualities(self.relevance, alpha, self.options.get("weights"))

    def unit_kernel(self) -> NDArray[np.float64]:
        """S + ridge·I: the kernel at q = 1."""
        s = reference.similarity(self.embeddings, self.options.get("types"), self.options.get("type_weight", 0.0))
        return s + self.options.get("ridge", 1e-2) * np.eye(self.n)

    def kernel(self) -> NDArray[np.float64]:
        q = np.exp(self.log_q)
        return q[:, None] * self.unit_kernel() * q[None, :]


def log_det(kernel: NDArray[np.float64], chosen: Sequence[int]) -> float:
    return float(np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1]) if len(chosen) else 0.0


def conditional_by_determinants(kernel: NDArray[np.float64], given_items: Sequence[int]) -> NDArray[np.float64]:
    """det K_{Y∪i} / det K_Y for each i, one determinant at a time."""
    base = log_det(kernel, given_items)
    rest = [i for i in range(len(kernel)) if i not in set(given_items)]
    out = np.zeros(len(kernel))
    for i in rest:
        out[i] = np.exp(log_det(kernel, [*given_items, i]) - base)
    return out


def assert_greedy(result: DppResult, kernel: NDArray[np.float64], q2: NDArray[np.float64], window: int | None) -> None:
    """Each of the first n_dpp picks is the best one at its step, its gain is true, and nothing was left at the end."""
    first = np.diag(kernel)
    picks = result.indices[: result.n_dpp].tolist()
    for t in range(result.n_dpp + 1):
        near = picks[:t] if window is None else picks[max(0, t - window + 1) : t]
        rho = conditional_by_determinants(kernel, near)
        rho[picks[:t]] = 0.0
        gains = q2 * np.where(rho > 1e-6 * first, rho, 0.0)
        if t < result.n_dpp:
            assert gains[picks[t]] >= gains.max() - TOLERANCE * q2[picks[t]], f"step {t}"
            assert result.gains[t] == pytest.approx(q2[picks[t]] * rho[picks[t]], abs=TOLERANCE * q2[picks[t]])
        elif t < min(len(kernel), len(result.indices)):
            assert np.all(rho[q2 > 0] <= (1e-6 + TOLERANCE) * first[q2 > 0]), "stopped too early"


@st.composite
def problems(draw: st.DrawFn, *, plain: bool = False) -> Problem:
    """Random items, some of them alike, some zero; with every option on or off unless ``plain``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, dim = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    k = draw(st.integers(1, n + 2))
    embeddings = rng.standard_normal((n, dim)).astype(draw(st.sampled_from([np.float32, np.float16])))
    if draw(st.booleans()):
        embeddings = embeddings[rng.integers(0, max(1, n // 2), n)]
    if draw(st.booleans()):
        embeddings[rng.integers(0, n)] = 0
    relevance = draw(st.sampled_from([1.0, 0.0])) * rng.standard_normal(n).astype(np.float32)
    options: dict[str, Any] = {
        "ridge": draw(st.sampled_from([1e-2, 0.0, 1e-4, 1.0])),
        "diversity": draw(st.sampled_from([0.5, 0.1, 0.9, 1.0])),
    }
    if not plain:
        if draw(st.booleans()):
            options["weights"] = rng.random(n).astype(np.float32)
        if draw(st.booleans()):
            options |= {"types": rng.integers(-2, 3, n), "type_weight": draw(st.sampled_from([0.2, 1.0]))}
        options["window"] = draw(st.sampled_from([None, 1, 2, 5, n + 5]))
    return Problem(embeddings, relevance.astype(np.float32), k, options)


def generic(seed: int, n: int = 60, dim: int = 8, k: int = 20, **options: Any) -> Problem:
    """Items without ties or near-ties, where every backend takes the very same sequence."""
    rng = np.random.default_rng(seed)
    relevance = rng.standard_normal(n).astype(np.float32)
    return Problem(rng.standard_normal((n, dim)).astype(np.float32), relevance, k, options)


@every_backend
@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_each_pick_has_the_largest_conditional_gain(backend: str, problem: Problem) -> None:
    result = problem.solve(backend)
    window = problem.options["window"]
    window = None if window is None or window >= min(problem.k, problem.n) else window
    assert_greedy(result, problem.unit_kernel(), np.exp(2 * problem.log_q), window)
    assert len(result.indices) == min(problem.k, problem.n) == len(set(result.indices.tolist()))
    assert np.all(np.isfinite(result.gains)) and not result.gains[result.n_dpp :].any()
    assert result.log_det == pytest.approx(np.log(result.gains[: result.n_dpp]).sum(), abs=1e-3)


@every_backend
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True))
def test_gains_never_rise_and_add_up_to_the_log_determinant(backend: str, problem: Problem) -> None:
    result = problem.solve(backend, fill=None)
    q2 = np.exp(2 * problem.log_q)[result.indices]
    assert len(result.indices) == result.n_dpp
    assert np.all(np.diff(result.gains) <= TOLERANCE * q2[1:])
    expected = log_det(problem.unit_kernel(), result.indices.tolist()) + 2 * problem.log_q[result.indices].sum()
    smallest = (result.gains / q2).min(initial=1.0)
    assert result.log_det == pytest.approx(expected, abs=1e-6 + 1e-10 * len(q2) / smallest)


@every_backend
@settings(max_examples=40, deadline=None)
@given(problem=problems(plain=True), window=st.sampled_from([None, 1, 2, 4]))
def test_an_explicit_kernel_is_selected_from_greedily(backend: str, problem: Problem, window: int | None) -> None:
    kernel = problem.kernel()
    result = SELECT_KERNEL[backend](kernel, problem.k, window=window)
    assert len(result.indices) == result.n_dpp == len(set(result.indices.tolist())) <= problem.k
    assert_greedy(result, kernel, np.ones(problem.n), window)


@pytest.mark.parametrize("seed", range(5))
def test_backends_take_the_same_sequence_where_nothing_is_close(seed: int) -> None:
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
        for backend in ("native", "portable"):
            result = generic(seed, **options, window=window).solve(backend)
            np.testing.assert_array_equal(result.indices, expected.indices)
            np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6, atol=1e-12)
            assert result.n_dpp == expected.n_dpp and result.log_det == pytest.approx(expected.log_det, rel=1e-6)


@every_backend
def test_k_is_a_prefix_of_k_plus_one(backend: str) -> None:
    problem = generic(1, k=20)
    longest = problem.solve(backend).indices
    for k in (1, 7, 19):
        np.testing.assert_array_equal(SELECT[backend](problem.embeddings, problem.relevance, k).indices, longest[:k])


@every_backend
def test_the_order_of_the_input_and_the_length_of_embeddings_do_not_matter(backend: str) -> None:
    problem = generic(2)
    expected = problem.solve(backend)
    shuffle = np.random.default_rng(0).permutation(problem.n)
    scale = np.exp2(np.random.default_rng(1).integers(-20, 20, problem.n)).astype(np.float32)[:, None]
    result = SELECT[backend]((problem.embeddings * scale)[shuffle], problem.relevance[shuffle], problem.k)
    np.testing.assert_array_equal(shuffle[result.indices], expected.indices)


@every_backend
def test_a_window_of_k_or_more_is_no_window(backend: str) -> None:
    problem = generic(3)
    for window in (problem.k, problem.k + 1, 10**6):
        with_window, without = problem.solve(backend, window=window), problem.solve(backend)
        np.testing.assert_array_equal(with_window.indices, without.indices)
        np.testing.assert_array_equal(with_window.gains, without.gains)


@every_backend
def test_a_window_of_one_is_plain_top_k_by_first_gain(backend: str) -> None:
    problem = generic(4)
    np.testing.assert_array_equal(problem.solve(backend, window=1).indices, reference.top_k(problem.relevance, 20))


@every_backend
@pytest.mark.parametrize("type_weight", [0.0, 0.4])
def test_shown_items_condition_by_their_schur_complement(backend: str, type_weight: float) -> None:
    problem = generic(5, types=np.arange(60) % 3, type_weight=type_weight)
    shown = np.random.default_rng(9).standard_normal((4, 8)).astype(np.float32)
    f, g = reference.unit(problem.embeddings), reference.unit(shown)
    q = np.exp(problem.log_q)
    across = (1 - type_weight) * q[:, None] * (f @ g.T)
    among = (1 - type_weight) * (g @ g.T) + 1e-2 * np.eye(4)
    conditioned = problem.kernel() - across @ np.linalg.inv(among) @ across.T
    expected = DppResult(*reference.dpp_select_kernel(conditioned, problem.k))
    result = problem.solve(backend, shown=shown)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6)


@every_backend
def test_types_are_one_hot_features(backend: str) -> None:
    problem = generic(6, types=np.arange(60) % 2, type_weight=0.5)
    expected = SELECT_KERNEL[backend](problem.kernel(), problem.k)
    result = problem.solve(backend)
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_allclose(result.gains, expected.gains, rtol=1e-6)


@every_backend
def test_without_a_ridge_the_greedy_ends_at_the_rank_and_the_fill_goes_on(backend: str) -> None:
    problem = generic(7, dim=6, k=20, ridge=0.0)
    result = problem.solve(backend)
    assert result.n_dpp == 6 and len(result.indices) == 20
    rest = [i for i in reference.top_k(problem.relevance, 60) if i not in set(result.indices[:6].tolist())]
    np.testing.assert_array_equal(result.indices[6:], rest[:14])
    assert len(problem.solve(backend, fill=None).indices) == 6
    assert SELECT_KERNEL[backend](problem.kernel(), 20).n_dpp == 6


@every_backend
def test_no_type_gets_more_than_its_quota(backend: str) -> None:
    types = np.repeat([5, -7, 5, 5], 15)
    problem = generic(8, types=types, max_per_type=4)
    chosen = problem.solve(backend).indices
    assert [np.count_nonzero(types[chosen] == t) for t in (5, -7)] == [4, 4] and len(chosen) == 8


@every_backend
@pytest.mark.parametrize("fill", ["relevance", None])
def test_each_type_gets_what_it_is_owed(backend: str, fill: str | None) -> None:
    types = np.repeat([5, -7, 2], [55, 4, 1])
    problem = generic(8, k=12, types=types, min_per_type=3, fill=fill, window=None)
    problem.relevance[55:] -= 5
    free = problem.solve(backend, min_per_type=0).indices
    owed = problem.solve(backend).indices
    assert [np.count_nonzero(types[free] == t) for t in (5, -7, 2)] == [12, 0, 0]
    assert [np.count_nonzero(types[owed] == t) for t in (5, -7, 2)] == [8, 3, 1]
    np.testing.assert_array_equal(owed[:8], free[:8])
    both = problem.solve(backend, max_per_type=6).indices
    assert np.count_nonzero(types[both] == 5) == 6


@every_backend
def test_more_owed_than_there_are_places_goes_by_gain_among_those_owed(backend: str) -> None:
    problem = generic(12, k=4, types=np.arange(60) % 6, min_per_type=1)
    types = np.arange(60) % 6
    chosen = problem.solve(backend).indices
    assert len(set(types[chosen].tolist())) == 4


@every_backend
def test_the_fill_keeps_to_what_is_owed(backend: str) -> None:
    copies = np.ones((12, 3), np.float32)
    types = np.repeat([0, 1], [10, 2])
    result = SELECT[backend](copies, np.arange(12, 0, -1, dtype=np.float32), 5, ridge=0.0, types=types, min_per_type=2)
    assert result.n_dpp == 1 and result.indices.tolist() == [0, 1, 2, 10, 11]


@every_backend
def test_diversity_runs_from_the_order_of_relevance_to_no_relevance(backend: str) -> None:
    problem = generic(9)
    by_relevance = reference.top_k(problem.relevance, problem.k)
    np.testing.assert_array_equal(problem.solve(backend, diversity=0.0).indices, by_relevance)
    np.testing.assert_array_equal(problem.solve(backend, diversity=1e-9).indices, by_relevance)
    flat = Problem(problem.embeddings, np.zeros(60, np.float32), problem.k)
    np.testing.assert_array_equal(problem.solve(backend, diversity=1.0).indices, flat.solve(backend).indices)


@every_backend
def test_equal_gains_go_to_the_lowest_index(backend: str) -> None:
    axes = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    result = SELECT[backend](axes, np.zeros(15, np.float32), 7)
    np.testing.assert_array_equal(result.indices, [0, 3, 6, 9, 12, 1, 4])


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
def test_a_similarity_of_ones_own_is_an_explicit_kernel(window: int | None) -> None:
    points = np.random.default_rng(0).random((80, 2))
    relevance = np.random.default_rng(1).standard_normal(80)
    result = DppResult(*portable.dpp_select_similarity(_rbf, points, relevance, 30, window=window))
    kernel = _rbf_kernel(points, reference.log_qualities(relevance, 0.5, None), 1e-2)
    expected = reference.dpp_select_kernel(kernel, 30, window=window)
    np.testing.assert_array_equal(result.indices, expected[0])
    np.testing.assert_allclose(result.gains, expected[1], rtol=1e-8)
    with pytest.raises(ValueError, match="relevance holds NaN at position 0"):
        portable.dpp_select_similarity(_rbf, points, np.full(80, np.nan), 3)
    with pytest.raises(ValueError, match="is not finite"):
        portable.dpp_select_similarity(_rbf, np.full((80, 2), np.nan), relevance, 3)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("window", [None, 1, 4])
def test_columns_on_demand_are_the_whole_kernel(window: int | None) -> None:
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


def test_pivoted_qr_takes_the_same_items_without_a_ridge() -> None:
    problem = generic(3, n=400, dim=24, k=24, ridge=0.0)
    columns = np.exp(problem.log_q)[:, None] * reference.unit(problem.embeddings)
    pivots = scipy.linalg.qr(columns.T, pivoting=True, mode="economic")[2]
    np.testing.assert_array_equal(problem.solve("native").indices, pivots[:24])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", [1, 7, 64, 100])
def test_a_greedy_by_determinants_takes_the_same_items(dim: int, dtype: type) -> None:
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


def _users(rng: np.random.Generator) -> tuple[NDArray[np.float32], dict[str, Any], NDArray[np.int64]]:
    n_of = [30, 0, 3, 70]
    indptr = np.concatenate([[0], np.cumsum(n_of)])
    n = int(indptr[-1])
    columns = {
        "relevance": rng.standard_normal(n).astype(np.float32),
        "weights": rng.random(n).astype(np.float32),
        "types": rng.integers(0, 3, n),
    }
    return rng.standard_normal((n, 8)).astype(np.float32), columns, indptr


@pytest.mark.usefixtures("backend")
def test_a_batch_is_each_user_alone() -> None:
    rng = np.random.default_rng(0)
    embeddings, columns, indptr = _users(rng)
    shown, shown_indptr = rng.standard_normal((5, 8)).astype(np.float32), np.array([0, 2, 2, 5, 5])
    options = {"type_weight": 0.2, "min_per_type": 1, "max_per_type": 4, "window": 6, "diversity": 0.6}
    batch = diversity.dpp_select_batch(
        embeddings, indptr=indptr, k=7, shown=shown, shown_indptr=shown_indptr, **columns, **options
    )
    assert batch.indices.shape == batch.gains.shape == (4, 7)
    for user, (first, end) in enumerate(pairwise(indptr)):
        own = {name: column[first:end] for name, column in columns.items()}
        seen = shown[shown_indptr[user] : shown_indptr[user + 1]]
        alone = diversity.dpp_select(embeddings[first:end], k=7, shown=seen, **own, **options)
        n = len(alone.indices)
        np.testing.assert_array_equal(batch.indices[user, :n], alone.indices + first)
        np.testing.assert_array_equal(batch.gains[user, :n], alone.gains)
        assert (batch.indices[user, n:] == -1).all() and not batch.gains[user, n:].any()
        assert batch.log_det[user] == alone.log_det and batch.n_dpp[user] == alone.n_dpp


@every_backend
def test_edges_give_no_nan_and_no_duplicate(backend: str) -> None:
    select = SELECT[backend]
    one = select(np.ones((1, 3), np.float32), np.zeros(1, np.float32), 5)
    assert one.indices.tolist() == [0] and one.gains[0] == pytest.approx(1.01)
    steep = select(generic(10).embeddings, generic(10).relevance, 60, alpha=1e3)
    np.testing.assert_array_equal(steep.indices, reference.top_k(generic(10).relevance, 60))
    nothing = select(np.zeros((4, 3), np.float32), np.arange(4, dtype=np.float32), 4, ridge=0.0)
    assert nothing.n_dpp == 0 and nothing.indices.tolist() == [3, 2, 1, 0]
    copies = select(np.ones((50, 3), np.float32), np.zeros(50, np.float32), 50, ridge=0.0)
    assert copies.n_dpp == 1 and copies.indices.tolist() == list(range(50))
    unweighted = select(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), 3, weights=[0, 1, 0])
    assert unweighted.n_dpp == 1 and unweighted.indices.tolist() == [1, 0, 2]


@pytest.mark.parametrize("backend", ["native", "portable"])
def test_no_items_give_an_empty_result(backend: str) -> None:
    result = SELECT[backend](np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 3)
    assert len(result.indices) == len(result.gains) == result.n_dpp == 0 and result.log_det == 0.0
    assert SELECT_KERNEL[backend](np.zeros((0, 0)), 3).n_dpp == 0


@pytest.mark.usefixtures("backend")
def test_items_without_dimensions_go_by_relevance() -> None:
    nothing = np.zeros((3, 0), np.float32)
    assert diversity.dpp_select(nothing, [1, 3, 2], 3).indices.tolist() == [1, 2, 0]
    assert diversity.dpp_select(nothing, [1, 3, 2], 3, window=2, shown=nothing).indices.tolist() == [1, 2, 0]
    assert diversity.mmr_select(nothing, [1, 3, 2], 3, shown=nothing).indices.tolist() == [1, 2, 0]
    assert diversity.ssd_select(nothing, [1, 3, 2], 3, window=2).indices.tolist() == [1, 2, 0]
