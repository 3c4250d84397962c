"""Sizes and inputs of the benchmarks, each defined once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from karec.index import CodeTable

N_ITEMS = 1_000_000
N_LISTED = 200_000  # items of the search by lists
N_EVENTS = 1_000_000
WORLD = (20_000, 2_000, 20_000)  # items, users, impressions of the world that requests run in
TRAINING_WORLD = (20_000, 500, 66_000)
TRAINED_ROWS = 8192
DIM, K = 64, 1000
N_CANDIDATES = (10_000, 100_000)
N_QUERIES = 32
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def shrink() -> None:
    """Sets sizes for `--benchmark-disable`: every benchmark runs once, on few items."""
    global N_ITEMS, N_LISTED, N_EVENTS, WORLD, TRAINING_WORLD, TRAINED_ROWS  # noqa: PLW0603
    N_ITEMS, N_LISTED, N_EVENTS = max(N_CANDIDATES), 10_000, 20_000
    WORLD = (5_000, 500, 4_000)
    TRAINING_WORLD, TRAINED_ROWS = (2_000, 60, 6_000), 1024


def train_world(out: Path, width: int = 0) -> Path:
    """Trains models of the world for one epoch, and returns the karec.toml.

    Works have content vectors of ``width`` numbers.
    """
    from karec.config.project import set_up
    from karec.evaluate.quality import read_run
    from karec.lab.simulate.world import make_world
    from karec.lab.studies.content import with_vectors
    from karec.learn.run.train import train
    from karec.learn.settings.settings import EvaluationSettings, RankerSettings, TowerSettings, TrainSettings

    world = make_world(*WORLD, seed=0)
    dataset = world.dataset
    if width:
        dataset = replace(dataset, snapshot=with_vectors(dataset.snapshot, world.truth, width))
    once = TrainSettings(
        ranker=RankerSettings(epochs=1),
        towers=TowerSettings(epochs=1),
        evaluation=EvaluationSettings(baselines=(), resamples=2),
    )
    train(dataset, once, out / "run")
    return set_up(dataset, out / "run", read_run(out / "run")["settings"], out)


@dataclass(frozen=True)
class Dpp:
    n: int
    k: int
    dim: int
    window: int | None = None

    def __str__(self) -> str:
        return f"N={self.n} k={self.k} D={self.dim}" + (f" w={self.window}" if self.window else "")


DPP = (
    Dpp(100, 10, 64),
    Dpp(1000, 10, 64),
    Dpp(1000, 100, 64),
    Dpp(3000, 1000, 64),
    Dpp(10_000, 100, 64),
    Dpp(10_000, 100, 64, 10),
)


def unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def item_vectors(n: int, dim: int = DIM) -> Floats:
    return unit(np.random.default_rng(0).standard_normal((n, dim), dtype=np.float32))


@cache
def item_ids(n: int) -> Ints:
    """Returns ids with gaps, in random order."""
    return np.random.default_rng(0).permutation(3 * n)[:n]


def queries(n: int, dim: int = DIM) -> Floats:
    return np.random.default_rng(1).standard_normal((n, dim), dtype=np.float32)


@cache
def candidate_rows(n: int, n_rows: int) -> list[NDArray[np.int32]]:
    """Returns eight draws of n of `n_rows` rows: successive calls must not find each other's rows in the
    cache."""
    rng = np.random.default_rng(n)
    return [rng.choice(n_rows, n, replace=False).astype(np.int32) for _ in range(8)]


# Codes of each code column: creators and songs of which a user has 100, and small vocabularies.
N_CODES = {
    "creator_id": 30_000,
    "song_id": 30_000,
    "tag": 200,
    "family": 40,
    "city": 300,
    "era": 12,
    "type": 8,
}


@cache
def item_codes(n: int) -> dict[str, NDArray[np.uint32]]:
    """Returns {code column: (n,)}; low codes are frequent."""
    rng = np.random.default_rng(7)
    return {name: (size * rng.random(n) ** 2).astype(np.uint32) for name, size in N_CODES.items()}


def user_tables() -> dict[str, CodeTable]:
    """Returns tables of at most 100 codes."""
    rng = np.random.default_rng(8)
    tables = {}
    for name, size in N_CODES.items():
        known = np.sort(rng.choice(size, min(100, size), replace=False)).astype(np.uint32)
        tables[name] = CodeTable(known, rng.standard_normal(len(known), dtype=np.float32), 0.1)
    return tables


@cache
def clustered_vectors(n: int, n_queries: int) -> tuple[Floats, Floats]:
    """Returns (unit vectors of n items, unit query vectors), distributed like those of the demo's towers.

    2,000 centres of uneven size; half of the variance in 16 of 64 directions; a mean of length 0.2; a query
    lies between three centres.
    """
    rng = np.random.default_rng(0)
    spread = (np.arange(DIM) + 3.0) ** -0.5
    spread /= np.linalg.norm(spread)
    centres = rng.standard_normal((2000, DIM)) * spread
    own = np.minimum((rng.pareto(1.2, n) * 100).astype(int), len(centres) - 1)
    items = unit((0.8 * centres[own] + 0.6 * rng.standard_normal((n, DIM)) * spread).astype(np.float32))
    items[:, 0] += 0.2
    between = centres[rng.integers(0, len(centres), (n_queries, 3))].mean(axis=1)
    noise = 0.3 * rng.standard_normal((n_queries, DIM)) * spread
    return unit(items), unit(
        (between / np.linalg.norm(between, axis=1, keepdims=True) + noise).astype(np.float32)
    )


@cache
def pool(n: int, dim: int, kind: str = "random") -> tuple[Floats, Floats]:
    """Returns (embeddings, standardised relevance) of n items.

    ``kind``: "random", "clustered" (50 centres), or "flat" (equal relevance, the worst case for lazy
    updates).
    """
    rng = np.random.default_rng(n)
    embeddings = rng.standard_normal((n, dim), dtype=np.float32)
    if kind == "clustered":
        centres = rng.standard_normal((50, dim), dtype=np.float32)
        embeddings = centres[rng.integers(0, 50, n)] + 0.3 * embeddings
    relevance = np.zeros(n, np.float32) if kind == "flat" else rng.standard_normal(n, dtype=np.float32)
    return embeddings.astype(np.float32), relevance


def item_facets(n: int) -> tuple[Ints, list[float]]:
    """Returns codes (3, n) and weights: about two items per creator, 50 tags, four items per song."""
    rng = np.random.default_rng(2)
    return np.stack([rng.integers(0, n_codes, n) for n_codes in (n // 2, 50, n // 4)]), [0.3, 0.2, 0.2]
