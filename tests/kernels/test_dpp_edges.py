"""Zero vectors, copies, one item, none, steep relevance: defined, without a NaN or a duplicate."""

from __future__ import annotations

import numpy as np
import pytest
from dpp_problems import SELECT, every_solver, generic

from karec import diversity
from karec.diversity import DiversityResult
from karec.index import ItemIndex
from karec.kernels import reference


@every_solver
def test_dpp_edge_cases_have_known_picks(
    solver: str,
) -> None:
    select = SELECT[solver]
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


def test_dpp_of_no_items_is_empty() -> None:
    result = diversity.dpp_select(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 3)
    assert len(result.indices) == len(result.gains) == result.n_dpp == 0 and result.log_det == 0.0
    assert diversity.dpp_select_kernel(np.zeros((0, 0)), 3).n_dpp == 0


def test_dpp_without_dimensions_orders_by_relevance() -> None:
    nothing = np.zeros((3, 0), np.float32)
    assert diversity.dpp_select(nothing, [1, 3, 2], 3).indices.tolist() == [1, 2, 0]
    assert diversity.dpp_select(nothing, [1, 3, 2], 3, window=2, shown=nothing).indices.tolist() == [1, 2, 0]
    assert diversity.mmr_select(nothing, [1, 3, 2], 3, shown=nothing).indices.tolist() == [1, 2, 0]
    assert diversity.ssd_select(nothing, [1, 3, 2], 3, window=2).indices.tolist() == [1, 2, 0]


def by_rows(embeddings, relevance, k, **options):
    index = ItemIndex.build(np.arange(len(embeddings)), embeddings, dtype="float32")
    return index.dpp_select(np.arange(len(embeddings)), relevance, k, **options)


def kernel_of(embeddings, relevance, alpha=0.5, ridge=1e-2):
    q = np.exp(reference.log_qualities(relevance, alpha, None))
    return q[:, None] * (reference.similarity(embeddings, [], []) + ridge * np.eye(len(q))) * q


def by_kernel(embeddings, relevance, k, **options):
    return diversity.dpp_select_kernel(kernel_of(embeddings, relevance, **options), k)


def marginal(select):
    def run(embeddings, relevance, k, **_):
        actual = select(embeddings, relevance, k)
        return DiversityResult(actual.indices, actual.gains, 0.0, len(actual.indices))

    return run


ENTRY_POINTS = {
    **SELECT,
    "index": by_rows,
    "kernel": by_kernel,
    "mmr": marginal(diversity.mmr_select),
    "ssd": marginal(diversity.ssd_select),
}
RANDOM = generic(30, n=25, dim=4)
EDGES = {
    "zero vectors": (np.zeros((6, 3), np.float32), np.arange(6), 6, {}),
    "some zero vectors": (np.eye(6, 3, dtype=np.float32), np.arange(6), 6, {}),
    "exact duplicates": (np.ones((70, 3), np.float32), np.arange(70) % 4, 70, {}),
    "duplicates without a ridge": (np.ones((70, 3), np.float32), np.arange(70) % 4, 70, {"ridge": 0.0}),
    "k above the rank": (RANDOM.embeddings, RANDOM.relevance, 25, {"ridge": 0.0}),
    "k above N": (RANDOM.embeddings, RANDOM.relevance, 1000, {}),
    "alpha 1000": (RANDOM.embeddings, RANDOM.relevance, 25, {"alpha": 1e3}),
    "equal relevance": (RANDOM.embeddings, np.full(25, 7.0), 25, {}),
    "one item": (np.ones((1, 3), np.float32), np.zeros(1), 3, {}),
    "the largest floats": (np.full((5, 3), 3e38, np.float32), np.full(5, -3e38), 5, {}),
    "subnormal floats": (np.full((5, 3), 1e-44, np.float32), np.full(5, 1e-44), 5, {}),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_dpp_edge_cases_have_finite_gains_and_no_repeats(entry: str, edge: str) -> None:
    embeddings, relevance, k, options = EDGES[edge]
    result = ENTRY_POINTS[entry](embeddings, np.asarray(relevance, np.float32), k, **options)
    chosen = result.indices.tolist()
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(range(len(relevance)))
    assert np.isfinite(result.gains).all() and np.isfinite(result.log_det)
    if entry != "kernel":
        assert len(chosen) == min(k, len(relevance))
    if edge in ("duplicates without a ridge", "one item") and entry not in ("mmr", "ssd"):
        assert result.n_dpp == 1
    if edge == "k above the rank" and entry not in ("mmr", "ssd"):
        assert result.n_dpp == 4
    if edge == "alpha 1000" and entry not in ("mmr", "ssd", "kernel"):
        assert chosen == reference.top_k(relevance, k).tolist()
