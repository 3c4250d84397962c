"""The funnel's loss: how many of the works that the ranker would put on top of a whole pool pass prerank.

Of the ranker's best m works of a pool, two shares that are kept:

prerank         by the stage prerank as it served: inner product, ecosystem steps and DPP together
inner_product   by the inner product alone, had it let through as many works as the stage did
on_purpose      the second less the first: what ecosystem steps and DPP take beyond what the inner product
                lost

A work without an item vector is lost by the inner product. Pools are those of requests that are served anew
(``recalled_pools``), where smaller ones are drawn from the whole pool and go through prerank again, or those
of a log's shadow requests (``logged_funnel``), where the works that were ranked are those that passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.evaluate.consistency import known_users
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.agreement import ranks
from karec.features.pool_scores import PoolScorer, find_stage
from karec.index import ItemIndex
from karec.logs.read import logged_tasks, read_rank_log
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Stage
from karec.pipeline.types import Candidates, Request
from karec.samples.threads import in_order
from karec.times import Progress

TOPS = (10, 100)
SIZES = (1_000, 10_000, 100_000)
WHOLE = "whole"
PARTS = ("inner_product", "prerank", "on_purpose")


def requests_of_known_users(snapshot: Snapshot, scene: str, n: int, seed: int = 0) -> list[Request]:
    """Requests of ``n`` users with a history, drawn from ``seed``, at the snapshot's moment."""
    rows = np.random.default_rng(seed).permutation(known_users(snapshot))[:n]
    users = np.asarray(snapshot.users.ids)[rows].tolist()
    return [Request(user, scene=scene, time_ms=snapshot.time_ms, request_id=f"pool-{user}") for user in users]


@dataclass(frozen=True, eq=False)
class FunnelPool:
    """A user's pool of N works. ``rank (N,)`` and ``prerank (N,)`` are scores, higher is better, prerank's
    NaN where a work has no vector; ``passed (N,) bool``: the stage prerank let it through. ``size`` names the
    kind of pool.
    """

    user_id: int
    rank: NDArray[Any]
    prerank: NDArray[Any]
    passed: NDArray[Any]
    size: str = WHOLE

    def kept(self, top: int) -> dict[str, float]:
        """{part of PARTS: share of the ranker's best ``top``}; NaN in a pool of fewer works. O(N log N)."""
        if len(self.rank) < top:
            return dict.fromkeys(PARTS, np.nan)
        best = ranks(self.rank) < top
        first = (ranks(self.prerank) < int(self.passed.sum())) & np.isfinite(self.prerank)
        by_product, by_stage = float((best & first).sum() / top), float((best & self.passed).sum() / top)
        return dict(zip(PARTS, (by_product, by_stage, by_product - by_stage), strict=True))


def recalled_pools(
    cascade: Cascade,
    index: ItemIndex,
    requests: Sequence[Request],
    sizes: Sequence[int] = SIZES,
    progress: Progress | None = None,
) -> Iterator[FunnelPool]:
    """What each request recalls, whole and as smaller pools of ``sizes`` works drawn from it by the user's
    id.

    ``cascade`` runs each request up to its stage ``prerank``; its stage ``rank`` scores the whole pool; a few
    requests run at once. Sizes that are not below a pool's are left out. Requests name users by numbers and
    have a moment. ValueError where the cascade lacks one of the two stages.
    """
    scorer = PoolScorer(find_stage(cascade.stages, "rank"))

    def pools_of(request: Request) -> list[FunnelPool]:
        return _pools_of_request(cascade, index, scorer, request, sizes)

    for done, found in enumerate(in_order(pools_of, requests), 1):
        yield from found
        if progress is not None:
            progress(done, len(requests), "ranking whole pools")


def _pools_of_request(
    cascade: Cascade, index: ItemIndex, scorer: PoolScorer, request: Request, sizes: Sequence[int]
) -> list[FunnelPool]:
    prerank = find_stage(cascade.stages, "prerank")
    with index.pinned() as view:
        # goes with the request
        recall_view = None if cascade.recall_index is None else cascade.recall_index.pinned()
        request, _ = cascade.hydrated(request.with_view(view, recall_view))
        recalled, _ = cascade.recall.run(request)
        for stage in cascade.stages[: cascade.stages.index(prerank)]:
            recalled = stage.run(request, recalled).candidates
        pool, passed = _through(prerank, request, recalled)
        ranked, inner = scorer.score(request, pool)
        found = [_pool(request, ranked, inner, passed, WHOLE)]
        generator = np.random.default_rng([abs(request.user_number), len(recalled)])
        for size in sizes:
            if size < len(recalled):
                part = recalled.take(np.sort(generator.choice(len(recalled), size, replace=False)))
                pool, passed = _through(prerank, request, part)
                there = np.isin(ranked.ids, pool.ids)
                found.append(_pool(request, ranked.take(there), inner[there], passed, str(size)))
    return found


def _through(prerank: Stage, request: Request, recalled: Candidates) -> tuple[Candidates, NDArray[Any]]:
    """(what the stage could choose from, the ids that it let through)."""
    outcome = prerank.run(request, recalled)
    return outcome.scored, outcome.candidates.ids


def _pool(
    request: Request, ranked: Candidates, prerank: NDArray[Any], passed: NDArray[Any], size: str
) -> FunnelPool:
    return FunnelPool(request.user_number, ranked.scores, prerank, np.isin(ranked.ids, passed), size)


def logged_funnel(folder: Path) -> Iterator[FunnelPool]:
    """The shadow requests of the rank log in ``folder`` of which the log also holds what was ranked to be
    shown.

    A shadow pool that the observer drew as a sample (its ``at_most``) is measured as the pool that it is.
    Raises DataError when there is none, LogSchemaError as ``read_rank_log`` does.
    """
    log = read_rank_log(folder, logged_tasks(folder))
    shadowed = np.unique(log.request_id[log.shadow])
    log = log.take(np.isin(log.request_id, shadowed))
    served = log.take(~log.shadow)
    order = np.argsort(served.request_id, kind="stable")
    names, begins = np.unique(served.request_id[order], return_index=True)
    ranked = dict(zip(names, np.split(served.item_id[order], begins[1:]), strict=True)) if len(names) else {}
    if not ranked:
        raise DataError(
            f"{folder} holds no shadow request beside what was ranked: serve some with the observers "
            "rank_log and shadow, into one folder"
        )
    return _pools_of(log.take(log.shadow).requests(), ranked)


def _pools_of(shadows: Iterable[Any], ranked: Mapping[str, NDArray[Any]]) -> Iterator[FunnelPool]:
    for pool in shadows:
        name = str(pool.request_id[0])
        if name in ranked:
            yield FunnelPool(
                int(pool.user_id[0]), pool.fused, pool.prerank, np.isin(pool.item_id, ranked[name])
            )


def funnel_loss(pools: Iterable[FunnelPool], resamples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Means over pools of ``FunnelPool.kept``, with 95 % intervals from resampling users.

    ``requests``, ``pool`` (median works), ``passed`` (median works that prerank let through), and for each of
    PARTS {"top10", "top10_ci", "top100", "top100_ci"}; under ``by_pool_size`` the same for each smaller size.
    A pool of fewer than m works says nothing of the best m. Pools are taken one by one, and none is kept.
    DataError when there is none.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for pool in pools:
        row = {"user": float(pool.user_id), "pool": float(len(pool.rank)), "passed": float(pool.passed.sum())}
        for top in TOPS:
            row |= {f"{part}.top{top}": value for part, value in pool.kept(top).items()}
        rows.setdefault(pool.size, []).append(row)
    if WHOLE not in rows:
        raise DataError("no pool to measure")
    sizes = sorted((size for size in rows if size != WHOLE), key=int)
    smaller = {size: _means(rows[size], resamples, seed) for size in sizes}
    return {**_means(rows[WHOLE], resamples, seed), "by_pool_size": smaller}


def _means(rows: Sequence[Mapping[str, float]], resamples: int, seed: int) -> dict[str, Any]:
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found: dict[str, Any] = {"requests": len(rows)}
    found |= {name: int(np.median(columns[name])) for name in ("pool", "passed")}
    for part in PARTS:
        found[part] = {}
        for top in TOPS:
            values = columns[f"{part}.top{top}"]
            there = np.isfinite(values)
            value, interval = None, None
            if there.any():
                bootstrap = UserBootstrap(columns["user"][there].astype(np.int64), resamples, seed)
                value, interval = (
                    float(values[there].mean()),
                    bootstrap_interval(bootstrap.mean(values[there])),
                )
            found[part] |= {f"top{top}": value, f"top{top}_ci": interval}
    return found
