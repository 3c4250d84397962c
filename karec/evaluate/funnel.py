"""Funnel loss: the fraction of the ranker's best items of a pool that pre-ranking selects.

Of the ranker's best m items of a pool, two fractions are measured:

prerank         selected by the stage prerank as it served: inner product, exposure steps and DPP together
inner_product   selected by the inner product only, if it selects as many items as the stage did
removed_by_policy      the second minus the first: the loss by exposure steps and DPP

The inner product loses items without a vector. Pools are those of requests served again (``recalled_pools``),
or those of a log's shadow requests (``logged_funnel``), where the ranked items are those that were selected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from karec.logs.parts import LogFolder
from karec.logs.read import read_rank_log, read_tasks
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request
from karec.samples.threads import map_in_order
from karec.times import Progress

TOPS = (10, 100)
FEW_ITEMS = 10  # users with fewer items in the history also have fractions of their own
PARTS = ("inner_product", "prerank", "removed_by_policy")


def requests_of_known_users(snapshot: Snapshot, scene: str, n: int, seed: int = 0) -> list[Request]:
    """Returns requests of ``n`` users with a history, sampled with ``seed``, at the snapshot's time."""
    rows = np.random.default_rng(seed).permutation(known_users(snapshot))[:n]
    users = np.asarray(snapshot.users.ids)[rows].tolist()
    return [Request(user, scene=scene, time_ms=snapshot.time_ms, request_id=f"pool-{user}") for user in users]


@dataclass(frozen=True, eq=False)
class FunnelPool:
    """A user's pool of N items.

    rank      (N,) scores, higher is better
    prerank   (N,) scores, NaN for an item without a vector
    passed    (N,) bool: pre-ranking selected the item
    n_items   items in the user's history; None: unknown
    """

    user_id: int
    rank: NDArray[Any]
    prerank: NDArray[Any]
    passed: NDArray[Any]
    n_items: int | None = None

    def kept_fractions(self, top: int) -> dict[str, float]:
        """Returns {part of PARTS: fraction of the ranker's best ``top``}; NaN for a smaller pool."""
        if len(self.rank) < top:
            return dict.fromkeys(PARTS, np.nan)
        best = ranks(self.rank) < top
        by_inner_product = (ranks(self.prerank) < int(self.passed.sum())) & np.isfinite(self.prerank)
        by_product, by_stage = (
            float((best & by_inner_product).sum() / top),
            float((best & self.passed).sum() / top),
        )
        return dict(zip(PARTS, (by_product, by_stage, by_product - by_stage), strict=True))


def recalled_pools(
    cascade: Cascade, index: ItemIndex, requests: Sequence[Request], progress: Progress | None = None
) -> Iterator[FunnelPool]:
    """Yields the pool that each request recalls.

    ``cascade`` runs each request until its stage ``prerank``; its stage ``rank`` scores the whole pool. A few
    requests run at once. Requests have numeric user ids and a time. Raises ValueError if the cascade lacks
    one of the two stages.
    """
    scorer = PoolScorer(cascade.stages)

    def request_pool(request: Request) -> FunnelPool:
        return _pool_of_request(cascade, index, scorer, request)

    for done, pool in enumerate(map_in_order(request_pool, requests), 1):
        yield pool
        if progress is not None:
            progress(done, len(requests), "ranking whole pools")


def _pool_of_request(cascade: Cascade, index: ItemIndex, scorer: PoolScorer, request: Request) -> FunnelPool:
    prerank = find_stage(cascade.stages, "prerank")
    with index.pinned() as view:
        request, _ = cascade.hydrate(request.with_view(view))
        recalled, _ = cascade.recall.run(request)
        for stage in cascade.stages[: cascade.stages.index(prerank)]:
            recalled = stage.run(request, recalled).candidates
        outcome = prerank.run(request, recalled)
        ranked, prerank_scores = scorer.score(request, outcome.scored)
    passed = np.isin(ranked.ids, outcome.candidates.ids)
    history = request.features.get("history")
    n_items = None if history is None else int(history[0].any(axis=1).sum())  # missing items have only zeros
    return FunnelPool(request.user_number, ranked.scores, prerank_scores, passed, n_items)


def logged_funnel(folder: LogFolder) -> Iterator[FunnelPool]:
    """Yields the shadow requests of the rank log in ``folder`` whose ranked items are logged too.

    A shadow pool that is a sample (``at_most``) is measured as that pool. Raises DataError if there is none,
    LogSchemaError like ``read_rank_log``.
    """
    log = read_rank_log(folder, read_tasks(folder))
    shadow_ids = np.unique(log.request_id[log.shadow])
    log = log.take(np.isin(log.request_id, shadow_ids))
    served = log.take(~log.shadow)
    order = np.argsort(served.request_id, kind="stable")
    names, starts = np.unique(served.request_id[order], return_index=True)
    ranked = dict(zip(names, np.split(served.item_id[order], starts[1:]), strict=True)) if len(names) else {}
    if not ranked:
        raise DataError(
            f"{folder}: no shadow request whose ranked items are logged too. Serve some with the side "
            "effects rank_log and shadow, both into this folder."
        )
    return _logged_pools(log.take(log.shadow).requests(), ranked)


def _logged_pools(shadows: Iterable[Any], ranked: Mapping[str, NDArray[Any]]) -> Iterator[FunnelPool]:
    for pool in shadows:
        name = str(pool.request_id[0])
        if name in ranked:
            yield FunnelPool(
                int(pool.user_id[0]), pool.fused, pool.prerank, np.isin(pool.item_id, ranked[name])
            )


def funnel_loss(pools: Iterable[FunnelPool], resamples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Returns means over pools of ``FunnelPool.kept_fractions``, with 95 % intervals from resampling users.

    Keys: ``requests``, ``pool`` (median items), ``passed`` (median selected items), and for each of PARTS
    {"top10", "top10_ci", "top100", "top100_ci"}. Keys with "_few", such as "top10_few", are for users with
    fewer than FEW_ITEMS items in the history. Pools of fewer than m items are left out of the best m. Pools
    are read one by one. Raises DataError if there is none.
    """
    rows: list[dict[str, float]] = []
    for pool in pools:
        row = {"user": float(pool.user_id), "pool": float(len(pool.rank)), "passed": float(pool.passed.sum())}
        row["few"] = float(pool.n_items is not None and pool.n_items < FEW_ITEMS)
        for top in TOPS:
            row |= {f"{part}.top{top}": value for part, value in pool.kept_fractions(top).items()}
        rows.append(row)
    if not rows:
        raise DataError("no pool to measure")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    means: dict[str, Any] = {"requests": len(rows)}
    means |= {name: int(np.median(columns[name])) for name in ("pool", "passed")}
    users, is_few = columns["user"].astype(np.int64), columns["few"] > 0
    for part in PARTS:
        fractions = {top: columns[f"{part}.top{top}"] for top in TOPS}
        means[part] = means_with_intervals(fractions, users, is_few, resamples, seed)
    return means


def means_with_intervals(
    fractions: Mapping[int, NDArray[Any]],
    users: NDArray[Any],
    is_few: NDArray[Any],
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns {"top10", "top10_ci", "top10_few", "top10_few_ci", …}: means over P pools, None without a pool.

    Args
      fractions   {m: (P,) kept fraction of the best m of each pool, NaN: not measured}
      users       (P,) ids, which the intervals resample
      is_few      (P,) bool: the user has fewer than FEW_ITEMS items in the history
    """
    means: dict[str, Any] = {}
    for top, values in fractions.items():
        for name, group in ((f"top{top}", np.ones(len(users), bool)), (f"top{top}_few", is_few)):
            is_measured = np.isfinite(values) & group
            value, interval = None, None
            if is_measured.any():
                bootstrap = UserBootstrap(users[is_measured], resamples, seed)
                value = float(values[is_measured].mean())
                interval = bootstrap_interval(bootstrap.mean(values[is_measured]))
            means |= {name: value, f"{name}_ci": interval}
    return means
