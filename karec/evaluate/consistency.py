"""Consistency of pre-ranking and ranking on whole pools, logged by shadow requests or sampled offline.

Both kinds are pools with two scores per item, measured by the same function. Logged pools are those of
recall. Offline pools are random samples of the catalog, so they are easier, and comparable between models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.agreement import ndcg_against, normalised_hit_rate
from karec.features.pool_scores import PoolScorer
from karec.logs.parts import LogFolder
from karec.logs.read import read_rank_log, read_tasks
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Candidates, Request
from karec.times import Progress

HITS = ((10, 10), (10, 50), (50, 50), (50, 100), (100, 1000))
NDCG_AT = 50


@dataclass(frozen=True, eq=False)
class ScoredPool:
    """A user's pool of N items with two scores, higher is better."""

    user_id: int
    prerank: NDArray[Any]
    rank: NDArray[Any]


def logged_pools(folder: LogFolder) -> Iterator[ScoredPool]:
    """Yields the shadow requests of the rank log in ``folder``, without items that pre-ranking did not score.

    Raises DataError if there are none, LogSchemaError like ``read_rank_log``.
    """
    log = read_rank_log(folder, read_tasks(folder))
    log = log.take(log.shadow & np.isfinite(log.prerank))
    if not len(log):
        raise DataError(
            f"{folder}: no shadow request. Serve some with the side effect shadow, share above 0."
        )
    return (ScoredPool(int(pool.user_id[0]), pool.prerank, pool.fused) for pool in log.requests())


def sampled_pools(
    cascade: Cascade, bundle: Bundle, n_pools: int, size: int, seed: int = 0, progress: Progress | None = None
) -> Iterator[ScoredPool]:
    """Yields pools of ``n_pools`` users with a history, each of ``size`` random items of the bundle.

    ``cascade`` scores a pool as of the bundle's time, with its query hydrators and its stage ``rank``. Raises
    DataError if the bundle has too few items, Unavailable if the scene has no user tower.
    """
    snapshot = bundle.snapshot
    if size > len(snapshot.works):
        raise DataError(
            f"{bundle.path} has {len(snapshot.works)} items, expected at least {size} for pools of {size}"
        )
    generator = np.random.default_rng(seed)
    scorer = PoolScorer(cascade.stages)
    users = np.asarray(snapshot.users.ids)[generator.permutation(known_users(snapshot))[:n_pools]]
    for done, user in enumerate(users, 1):
        ids = np.asarray(snapshot.works.ids)[generator.choice(len(snapshot.works), size, replace=False)]
        request = Request(int(user), scene=cascade.scene, time_ms=snapshot.time_ms, request_id=f"pool-{user}")
        with bundle.index.pinned() as view:
            request, _ = cascade.hydrate(request.with_view(view))
            ranked, prerank = scorer.score(request, Candidates.from_ids(ids).with_rows(view.lookup(ids)))
        is_scored = np.isfinite(prerank)
        if progress is not None:
            progress(done, len(users), "scoring pools twice")
        yield ScoredPool(int(user), prerank[is_scored], ranked.scores[is_scored])


def known_users(snapshot: Snapshot) -> NDArray[Any]:
    """Returns the rows of users with a history, or of all users if the platform stores no history."""
    history = snapshot.relations.get("history")
    return np.arange(len(snapshot.users)) if history is None else np.flatnonzero(np.diff(history.indptr) > 0)


def consistency(pools: Iterable[ScoredPool], resamples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Returns means over pools of the measures in ``metrics.agreement``, with 95 % intervals over users.

    A measure leaves out pools with too few items; ``pools`` counts the others. One pool at a time is in
    memory. Raises DataError if there is no pool.
    """
    users: list[int] = []
    sizes: list[int] = []
    values: dict[str, list[float]] = {}
    for pool in pools:
        users.append(pool.user_id)
        sizes.append(len(pool.rank))
        for name, value in _measures(pool).items():
            values.setdefault(name, []).append(value)
    if not users:
        raise DataError("no pool to measure")
    return {
        "pools": len(users),
        "users": len(set(users)),
        "pool_size": {"min": min(sizes), "median": int(np.median(sizes)), "max": max(sizes)},
        "measures": {name: _with_interval(v, users, resamples, seed) for name, v in values.items()},
    }


def _measures(pool: ScoredPool) -> dict[str, float]:
    n = len(pool.rank)
    measures = {
        f"ranker's top {m} in {k}": float(normalised_hit_rate(pool.prerank, pool.rank, m, k))
        if n > k
        else np.nan
        for m, k in HITS
    }
    measures[f"NDCG@{NDCG_AT}"] = (
        float(ndcg_against(pool.prerank, pool.rank, NDCG_AT)) if n > NDCG_AT else np.nan
    )
    return measures


def _with_interval(values: list[float], users: list[int], resamples: int, seed: int) -> dict[str, Any]:
    array = np.array(values)
    is_defined = np.isfinite(array)
    if not is_defined.any():
        return {"value": None, "ci": None, "pools": 0}
    bootstrap = UserBootstrap(np.array(users)[is_defined], resamples, seed)
    interval = bootstrap_interval(bootstrap.mean(array[is_defined]))
    return {"value": float(array[is_defined].mean()), "ci": interval, "pools": int(is_defined.sum())}
