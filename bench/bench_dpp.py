"""Greedy DPP on embeddings: native beside Numba and plain NumPy of the same definition (no N × N
matrix)."""

import numpy as np
import pytest
import workloads

from karec.diversity import ScatterRule, dpp_select, dpp_select_kernel, scatter
from karec.kernels import dpp

KINDS = ("random", "clustered", "flat")


def numpy_gram_schmidt(embeddings, relevance, k, ridge=1e-2):
    """The definition with ρ falling by ⟨f_i, u⟩² for each pick's direction u, one matrix-vector product a
    step."""
    f = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    q2 = np.exp(relevance - relevance.max())
    rho = np.full(len(f), 1 + ridge, np.float32)
    directions = np.zeros((0, f.shape[1]), np.float32)
    picks = []
    for _ in range(k):
        gains = q2 * rho
        gains[picks] = -1
        best = int(np.argmax(gains))
        u = (f[best] - directions.T @ (directions @ f[best])) / np.sqrt(rho[best])
        directions = np.vstack([directions, u])
        rho -= (f @ u) ** 2
        picks.append(best)
    return picks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [*workloads.DPP, *workloads.DPP_LARGE], ids=str)
def test_native(benchmark, size, kind):
    benchmark.group = f"DPP {size}"
    embeddings, relevance = workloads.items(size.n, size.dim, kind)
    benchmark(lambda: dpp_select(embeddings, relevance, size.k, window=size.window))


@pytest.mark.parametrize("size", [size for size in workloads.DPP if size.window is None], ids=str)
def test_numpy(benchmark, size):
    benchmark.group = f"DPP {size}"
    embeddings, relevance = workloads.items(size.n, size.dim, "random")
    benchmark(lambda: numpy_gram_schmidt(embeddings, relevance, size.k))


@pytest.mark.parametrize("size", workloads.DPP, ids=str)
def test_numba(benchmark, size):
    benchmark.group = f"DPP {size}"
    embeddings, relevance = workloads.items(size.n, size.dim, "random")
    dpp.dpp_select(embeddings[:2], relevance[:2], 2, window=size.window)  # compiles
    benchmark.pedantic(lambda: dpp.dpp_select(embeddings, relevance, size.k, window=size.window), rounds=3)


@pytest.mark.parametrize("window", [None, 10])
def test_explicit_kernel(benchmark, window):
    embeddings, relevance = workloads.items(1000, 64, "random")
    f = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    q = np.exp(0.5 * (relevance - relevance.max())).astype(np.float64)
    kernel = q[:, None] * (f @ f.T + 1e-2 * np.eye(1000)) * q
    benchmark.group = "DPP on an explicit kernel, N=1000,k=100"
    benchmark(lambda: dpp_select_kernel(kernel, 100, window=window))


@pytest.mark.parametrize("k", [10, 1000])
def test_scatter(benchmark, k):
    benchmark.group = "rule scatter of 1000 items, two rules"
    rng = np.random.default_rng(0)
    columns = {"song_id": rng.zipf(1.5, 1000) % 300, "creator_id": rng.integers(0, 200, 1000)}
    rules = [ScatterRule("song_id"), ScatterRule("creator_id", window=5, max_count=1)]
    benchmark(lambda: scatter(np.arange(1000), columns, rules, k=k))
