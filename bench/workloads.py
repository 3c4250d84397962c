"""Every size that the kernels are measured at, and the data of that size, once for all benches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

N_WORKS = 1_000_000
WORLD = (400_000, 20_000, 60_000)  # works, users, exposures of the whole cascade
TOWERS_WORLD = (100_000, 5_000, 60_000)
DIM = 64
K = 1000
N_CANDIDATES = (10_000, 100_000)
N_QUERIES = 32


def only_run() -> None:
    """Sizes for `--benchmark-disable`, which measures nothing: every bench runs once, on fewer works."""
    global N_WORKS, WORLD, TOWERS_WORLD  # noqa: PLW0603
    N_WORKS = max(N_CANDIDATES)
    WORLD = TOWERS_WORLD = (10_000, 1_000, 8_000)


@dataclass(frozen=True)
class Dpp:
    n: int
    k: int
    dim: int
    window: int | None = None

    def __str__(self) -> str:
        return f"N={self.n},k={self.k},D={self.dim}" + (f",w={self.window}" if self.window else "")


DPP = (
    Dpp(100, 10, 64),
    Dpp(1000, 100, 64),
    Dpp(3000, 1000, 64),
    Dpp(10_000, 100, 64),
    Dpp(10_000, 100, 64, 10),
)
DPP_LARGE = (Dpp(10_000, 1000, 128), Dpp(50_000, 100, 64))


@cache
def works() -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(ids, unit vectors, a query) of N_WORKS works; ids are sparse and in no order."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((N_WORKS, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rng.permutation(3 * N_WORKS)[:N_WORKS], vectors, rng.standard_normal(DIM, dtype=np.float32)


@cache
def tower_like(n: int, n_queries: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(unit vectors of n works, unit query vectors) that lie as those of the demo's towers do: 2,000 centres
    of uneven size, a spectrum that falls slowly (half of the variance in 16 of 64 directions), a mean of
    length .2; a query lies between three centres. Lists find a little less of them than of the demo's own
    (docs/benchmarks.md)."""
    rng = np.random.default_rng(0)
    spread = (np.arange(DIM) + 3.0) ** -0.5
    spread /= np.linalg.norm(spread)
    centres = rng.standard_normal((2000, DIM)) * spread
    own = np.minimum((rng.pareto(1.2, n) * 100).astype(int), len(centres) - 1)

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    works = unit(0.8 * centres[own] + 0.6 * rng.standard_normal((n, DIM)) * spread)
    works[:, 0] += 0.2
    between = centres[rng.integers(0, len(centres), (n_queries, 3))].mean(axis=1)
    queries = unit(between + 0.3 * rng.standard_normal((n_queries, DIM)) * spread)
    return unit(works).astype(np.float32), queries.astype(np.float32)


@cache
def candidates(n: int) -> NDArray[np.int32]:
    """Rows of n random works, in no order."""
    return np.random.default_rng(n).choice(N_WORKS, n, replace=False).astype(np.int32)


@cache
def items(n: int, dim: int, kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(embeddings, standardised relevance): "random", "clustered" (50 centres), or "flat" (relevance says
    nothing)."""
    rng = np.random.default_rng(n)
    embeddings = rng.standard_normal((n, dim), dtype=np.float32)
    if kind == "clustered":
        embeddings = (
            rng.standard_normal((50, dim), dtype=np.float32)[rng.integers(0, 50, n)] + 0.3 * embeddings
        )
    relevance = np.zeros(n, np.float32) if kind == "flat" else rng.standard_normal(n, dtype=np.float32)
    return embeddings.astype(np.float32), relevance


def item_types(n: int) -> dict[str, NDArray[np.int64]]:
    """Types of n items, by what they are called in tables."""
    rng = np.random.default_rng(1)
    return {
        "2": rng.integers(0, 2, n),
        "100": rng.integers(0, 100, n),
        f"{n}, drawn": rng.integers(0, n, n),
        f"{n}, one an item": rng.permutation(n),
    }


def item_facets(n: int) -> tuple[NDArray[np.int64], list[float]]:
    """Codes (3, n) and weights of n items: about two works a creator, 50 tags, four works a song."""
    rng = np.random.default_rng(2)
    return np.stack([rng.integers(0, many, n) for many in (n // 2, 50, n // 4)]), [0.3, 0.2, 0.2]
