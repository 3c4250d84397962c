"""Consistency of prerank and rank on whole pools: logged ones, from shadow requests, and ones drawn offline.

Both are pools with two scores for every work, and are measured by the same function. Logged pools are what
recall found, as large as it was; offline ones are drawn from the catalogue at random, so they are easier, and
comparable between models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.agreement import ndcg_against, normalised_hit_rate, overlap, ranks
from karec.features.pool_scores import PoolScorer, find_stage
from karec.logs.read import logged_tasks, read_rank_log
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Candidates, Request
from karec.times import Progress

HITS = ((10, 10), (10, 50), (50, 50), (50, 100), (100, 1000))
OVERLAPS = (10, 50, 100)
NDCG_AT = 50
TOPS = (10, 50)  # of the ranker, whose places in prerank's order the curve shows
SHARES = np.geomspace(0.001, 1.0, 61)


@dataclass(frozen=True, eq=False)
class ScoredPool:
    """A user's pool of N works: scores ``prerank (N,)`` and ``rank (N,)``, higher is better."""

    user_id: int
    prerank: NDArray[Any]
    rank: NDArray[Any]


def logged_pools(folder: Path) -> Iterator[ScoredPool]:
    """The shadow requests of the rank log in ``folder``; works that prerank had no score for are left out.

    Raises DataError when the log has none, LogSchemaError as ``read_rank_log`` does.
    """
    log = read_rank_log(folder, logged_tasks(folder))
    log = log.take(log.shadow & np.isfinite(log.prerank))
    if not len(log):
        raise DataError(
            f"{folder} holds no shadow request: serve some with the observer shadow, share above 0"
        )
    return (ScoredPool(int(pool.user_id[0]), pool.prerank, pool.fused) for pool in log.requests())


def drawn_pools(
    cascade: Cascade, bundle: Bundle, n_pools: int, size: int, seed: int = 0, progress: Progress | None = None
) -> Iterator[ScoredPool]:
    """``n_pools`` users with a history, each with ``size`` works of the bundle, both drawn from ``seed``.

    A pool is scored as ``cascade`` would at the bundle's moment, by its request steps and its stage ``rank``.
    Raises DataError when the bundle has too few works, Unavailable when the scene has no user tower.
    """
    snapshot = bundle.snapshot
    if size > len(snapshot.works):
        raise DataError(f"{bundle.path} has {len(snapshot.works)} works: pools of {size} cannot be drawn")
    generator = np.random.default_rng(seed)
    scorer = PoolScorer(find_stage(cascade.stages, "rank"))
    users = np.asarray(snapshot.users.ids)[generator.permutation(known_users(snapshot))[:n_pools]]
    for done, user in enumerate(users, 1):
        ids = np.asarray(snapshot.works.ids)[generator.choice(len(snapshot.works), size, replace=False)]
        request = Request(int(user), scene=cascade.scene, time_ms=snapshot.time_ms, request_id=f"pool-{user}")
        with bundle.index.pinned() as view:
            request, _ = cascade.hydrated(request.with_view(view))
            ranked, prerank = scorer.score(request, Candidates.from_ids(ids).with_rows(view.lookup(ids)))
        scored = np.isfinite(prerank)
        if progress is not None:
            progress(done, len(users), "scoring pools twice")
        yield ScoredPool(int(user), prerank[scored], ranked.scores[scored])


def known_users(snapshot: Snapshot) -> NDArray[Any]:
    """Rows of the users with a history; of all of them where the platform keeps none."""
    history = snapshot.relations.get("history")
    return np.arange(len(snapshot.users)) if history is None else np.flatnonzero(np.diff(history.indptr) > 0)


def consistency(pools: Iterable[ScoredPool], resamples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Measures of ``evaluate.metrics.agreement``, means over pools with 95 % intervals from resampling
    users.

    Keys are documented in docs/formats.md. A measure that needs more works than a pool has leaves that pool
    out; ``pools`` counts those it took. One pool is held in memory at a time. Raises DataError when there is
    no pool.
    """
    users: list[int] = []
    sizes: list[int] = []
    values: dict[str, list[float]] = {}
    curve = {top: np.zeros(len(SHARES)) for top in TOPS}
    for pool in pools:
        users.append(pool.user_id)
        sizes.append(len(pool.rank))
        for name, value in _measures(pool).items():
            values.setdefault(name, []).append(value)
        for top in TOPS:
            curve[top] += _found_within(pool, top)
    if not users:
        raise DataError("no pool to measure")
    return {
        "pools": len(users),
        "users": len(set(users)),
        "pool_size": {"least": min(sizes), "median": int(np.median(sizes)), "most": max(sizes)},
        "measures": {name: _with_interval(each, users, resamples, seed) for name, each in values.items()},
        "curve": {
            "share_of_pool": SHARES.tolist(),
            **{f"top_{top}": (sums / len(users)).tolist() for top, sums in curve.items()},
        },
    }


def _measures(pool: ScoredPool) -> dict[str, float]:
    n = len(pool.rank)
    found = {
        f"ranker's top {m} in {k}": float(normalised_hit_rate(pool.prerank, pool.rank, m, k))
        if n > k
        else np.nan
        for m, k in HITS
    }
    found[f"NDCG@{NDCG_AT}"] = (
        float(ndcg_against(pool.prerank, pool.rank, NDCG_AT)) if n > NDCG_AT else np.nan
    )
    return found | {
        f"overlap@{k}": float(overlap(pool.prerank, pool.rank, k)) if n > k else np.nan for k in OVERLAPS
    }


def _found_within(pool: ScoredPool, top: int) -> NDArray[Any]:
    """For each of SHARES: the share of the ranker's ``top`` works that are within this share of prerank's
    order."""
    n = len(pool.rank)
    places = np.sort(ranks(pool.prerank)[ranks(pool.rank) < top])
    return np.searchsorted(places, np.maximum(np.round(SHARES * n), 1), side="left") / max(len(places), 1)


def _with_interval(values: list[float], users: list[int], resamples: int, seed: int) -> dict[str, Any]:
    each = np.array(values)
    there = np.isfinite(each)
    if not there.any():
        return {"value": None, "ci": None, "pools": 0}
    bootstrap = UserBootstrap(np.array(users)[there], resamples, seed)
    interval = bootstrap_interval(bootstrap.mean(each[there]))
    return {"value": float(each[there].mean()), "ci": interval, "pools": int(there.sum())}
