"""Greedy DPP, MMR, SSD and the rules on a page."""

from __future__ import annotations

import importlib.util

import numba_peers
import numpy as np
import pytest
import workloads
from workloads import Dpp

from karec.diversity import NeighbourRule, arrange, dpp_select, dpp_select_kernel, mmr_select, ssd_select
from karec.kernels import dpp as numba_dpp
from karec.kernels import mmr_ssd as numba_marginal

ALPHA, DIVERSITY, RIDGE = 0.5, 0.5, 1e-2
HAS_PYVERSITY = importlib.util.find_spec("pyversity") is not None


def gram_schmidt(embeddings, relevance, k):
    """Selects by karec's definition: variances fall by ⟨f_i, u⟩² for the direction u of each pick."""
    f = workloads.unit(embeddings)
    q2 = np.exp(2 * ALPHA * (relevance - relevance.max()))
    rho = np.full(len(f), 1 + RIDGE, np.float32)
    directions = np.zeros((0, f.shape[1]), np.float32)
    picks: list[int] = []
    for _ in range(k):
        gains = q2 * rho
        gains[picks] = -1
        best = int(np.argmax(gains))
        u = (f[best] - directions.T @ (directions @ f[best])) / np.sqrt(rho[best])
        directions = np.vstack([directions, u])
        rho -= (f @ u) ** 2
        picks.append(best)
    return picks


def inverse_updates(embeddings, relevance, k, window=None):
    """Selects by karec's definition: each pick is a rank-one update of the inverse of a D × D matrix.

    With a window, the matrix of the last picks is inverted at each step.
    """
    f, picks = workloads.unit(embeddings), np.empty(k, np.int64)
    q2 = np.exp(2 * ALPHA * (relevance - relevance.max()))
    inverse = np.eye(f.shape[1], dtype=np.float32) / np.float32(RIDGE)
    variance = np.full(len(f), 1 + RIDGE, np.float32)
    for i in range(k):
        picks[i] = pick = int((q2 * variance).argmax())
        q2[pick] = -1.0
        if window is not None:
            near = f[picks[max(i + 2 - window, 0) : i + 1]]
            along = f @ near.T
            solved = along @ np.linalg.inv(near @ near.T + RIDGE * np.eye(len(near), dtype=np.float32))
            variance = np.float32(1 + RIDGE) - (solved * along).sum(axis=1)
            continue
        u = inverse @ f[pick]
        scale = np.float32(1 / (1 + f[pick] @ u))
        inverse -= np.outer(u * scale, u)
        variance -= np.float32(RIDGE) * scale * (f @ u) ** 2
    return picks


def select_with_pyversity(strategy, embeddings, relevance, k):
    from pyversity import diversify

    return diversify(embeddings, relevance, k, strategy=strategy, diversity=DIVERSITY)


def add_pyversity(ways, strategy, embeddings, relevance, k):
    if HAS_PYVERSITY:
        ways["pyversity"] = lambda: select_with_pyversity(strategy, embeddings, relevance, k)
    return ways


def costs(size: Dpp) -> dict[str, float | str]:
    """An item costs about k·D multiply-adds; `items` are items of the pool times picks."""
    return {"items": size.n * size.k, "flops": 2.0 * size.n * size.k * size.dim, "limit": "fma"}


@pytest.mark.parametrize("kind", ["random", "clustered", "flat"])
@pytest.mark.parametrize("size", workloads.DPP, ids=str)
def test_dpp(compare, size, kind):
    embeddings, relevance = workloads.pool(size.n, size.dim, kind)
    args = embeddings, relevance, size.k
    ways = {"NumPy inverse": lambda: inverse_updates(*args, size.window)}
    if size.window is None:
        ways |= {
            "NumPy Gram–Schmidt": lambda: gram_schmidt(*args),
            "Numba, karec.kernels": lambda: numba_dpp.dpp_select(*args, alpha=ALPHA),
            "Numba, lazy": lambda: numba_peers.lazy_dpp(*args, ALPHA, RIDGE),
        }
        ways = add_pyversity(ways, "dpp", *args)
    run_karec = lambda: dpp_select(*args, alpha=ALPHA, window=size.window)  # noqa: E731
    compare("dpp", f"{size} {kind}", run_karec, ways, **costs(size))


@pytest.mark.parametrize("size", [Dpp(1000, 30, 64), Dpp(5000, 1000, 64)], ids=str)
def test_dpp_with_facets(compare, size):
    args = *workloads.pool(size.n, size.dim, "clustered"), size.k
    codes, weights = workloads.item_facets(size.n)
    run_karec = lambda: dpp_select(*args, diversity=DIVERSITY, facets=codes, facet_weights=weights)  # noqa: E731
    compare("dpp: three facets", str(size), run_karec, **costs(size))


def test_dpp_of_a_kernel_matrix(compare):
    embeddings, relevance = workloads.pool(1000, 64)
    f, q = workloads.unit(embeddings), np.exp(ALPHA * (relevance - relevance.max())).astype(np.float64)
    kernel = q[:, None] * (f @ f.T + RIDGE * np.eye(1000)) * q

    def cholesky():
        """Runs Chen's incremental Cholesky in NumPy."""
        rows, variance = np.zeros((100, 1000)), kernel.diagonal().copy()
        for t in range(100):
            best = int(np.argmax(variance))
            rows[t] = (kernel[best] - rows[:t, best] @ rows[:t]) / np.sqrt(variance[best])
            variance -= rows[t] ** 2
            variance[best] = -np.inf

    run_karec = lambda: dpp_select_kernel(kernel, 100)  # noqa: E731
    compare("dpp: kernel matrix", "N=1000 k=100", run_karec, {"NumPy Cholesky": cholesky}, items=100_000)


@pytest.mark.parametrize("size", [Dpp(1, 1, 64), Dpp(100, 10, 64), Dpp(1000, 100, 64)], ids=str)
@pytest.mark.parametrize("method", ["mmr", "ssd"])
def test_marginal_relevance(compare, method, size):
    run_karec, numba = (
        (mmr_select, numba_marginal.mmr_select)
        if method == "mmr"
        else (ssd_select, numba_marginal.ssd_select)
    )
    args = *workloads.pool(size.n, size.dim), size.k
    ways = {"Numba, karec.kernels": lambda: numba(*args, diversity=DIVERSITY)}
    if method == "mmr":
        ways["Numba, lazy"] = lambda: numba_peers.lazy_mmr(*args, DIVERSITY)
    ways = add_pyversity(ways, method, *args)
    compare(method, str(size), lambda: run_karec(*args, diversity=DIVERSITY), ways, **costs(size))


@pytest.mark.parametrize("k", [10, 1000])
def test_arrange(compare, k):
    rng = np.random.default_rng(0)
    columns = {"song_id": rng.zipf(1.5, 1000) % 300, "creator_id": rng.integers(0, 200, 1000)}
    rules = [
        NeighbourRule.from_values(columns["song_id"]),
        NeighbourRule.from_values(columns["creator_id"], window=5),
    ]

    def loop():
        """Selects for each place the first item that breaks no rule, in Python."""
        windows = [(columns["song_id"].tolist(), 2), (columns["creator_id"].tolist(), 5)]
        remaining, picks = list(range(1000)), []
        for _ in range(k):
            near = [(values, {values[row] for row in picks[1 - window :]}) for values, window in windows]
            fitting = (
                row
                for row in remaining
                if not any(values[row] in near_values for values, near_values in near)
            )
            picks.append(next(fitting, remaining[0]))
            remaining.remove(picks[-1])

    run_karec = lambda: arrange(1000, rules, k)  # noqa: E731
    compare("arrange", f"N=1000 k={k} two rules", run_karec, {"Python loop": loop}, items=k)
