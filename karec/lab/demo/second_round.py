"""The demo's second round: the towers learn from logged requests, and the next version serves.

Every teaching request is a shadow request: the ranker scores its pool into the rank log. The towers continue
for one epoch over the training days and this log, so a change has two causes. Both versions are measured on
pools of other users, which the first version recalled. The ranker is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from karec.catalog.dataset import Dataset
from karec.config import load_cascade, open_bundle
from karec.config.project import main_scene
from karec.evaluate.funnel import TOPS, FunnelPool, recalled_pools
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.lab.demo.serve import users_of_test_days
from karec.pipeline.deadline import Clock
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.trace import StepTrace
from karec.pipeline.types import Candidates, Request
from karec.steps.side_effects.rank_log import RankLog
from karec.steps.side_effects.shadow import Shadow
from karec.times import Progress

MAX_HELD_OUT = 10  # users; the ranker needs half a second for a pool of 1e5 items
FLUSH_INTERVAL = 8  # requests between two flushes: a full side-effect queue drops requests
MAX_POOL = 5_000  # items of a teaching pool: 40 ms of the ranker
LOG = "rank_log"  # folder next to karec.toml
PARTS = ("inner_product", "prerank")  # of a FunnelPool


def make_requests(dataset: Dataset, n_requests: int) -> tuple[list[Request], list[Request]]:
    """Returns (requests to measure on, requests that teach) at the start of the test days; one may be empty.

    The first are of half of the demo's users, the second of other users with earlier impressions.
    """
    users = users_of_test_days(dataset, n_requests)
    held_out = users[: min(MAX_HELD_OUT, max(len(users) // 2, 1))]
    known = np.unique(dataset.exposures.user_id[dataset.exposures.time_ms < dataset.valid_until_ms])
    teaching = np.random.default_rng(1).permutation(np.setdiff1d(known, held_out))[:n_requests]
    scene, time_ms = main_scene(dataset), dataset.valid_until_ms
    held_out_requests, shadow_requests = (
        [Request(user, scene=scene, time_ms=time_ms, request_id=f"{name}-{user}") for user in part.tolist()]
        for name, part in (("held-out", held_out), ("shadow", teaching))
    )
    return held_out_requests, shadow_requests


def run_second_round(
    config: Path,
    held_out: Sequence[Request],
    shadow: Sequence[Request],
    learn: Callable[[Path], object],
    progress: Progress,
) -> dict[str, Any]:
    """Returns the report's ``second_round``. ``learn`` continues the towers with a rank log and publishes."""
    recalled: dict[int, Candidates] = {}
    before = _measure_pools(config, held_out, recalled, progress)
    learn(_serve_shadow_requests(config, shadow, progress))
    after = _measure_pools(config, held_out, recalled, progress)
    kept = {part: {f"top{top}": _compare(before, after, part, top) for top in TOPS} for part in PARTS}
    pool = int(np.median([len(pool.rank) for pool in before]))
    return {"taught_requests": len(shadow), "requests": len(held_out), "pool": pool, "kept": kept}


def _serve_shadow_requests(config: Path, requests: Sequence[Request], progress: Progress) -> Path:
    """Logs the items of the stage rank and the pool of each request. Returns the log's folder."""
    bundle, folder = open_bundle(config), config.parent
    cascade = load_cascade(config, requests[0].scene, bundle)
    schema = bundle.index.schema
    shadow = Shadow(bundle, schema, cascade.stages, folder, LOG, share=1.0, at_most=MAX_POOL)
    side_effects = {"rank_log": RankLog(bundle, cascade.stages, folder, LOG), "shadow": shadow}
    for name, side_effect in side_effects.items():
        side_effect.name = name
    queues = tuple(SideEffectQueue(side_effect) for side_effect in side_effects.values())
    with replace(cascade, side_effects=queues, naming=None) as logging_cascade:
        for done, request in enumerate(requests, 1):
            logging_cascade.run(request)
            if done % FLUSH_INTERVAL == 0:
                for queue in queues:
                    queue.flush()
            progress(done, len(requests), "serving shadow requests")
    return folder / LOG


@dataclass(frozen=True)
class RepeatedRecall(Recall):
    """Recall that runs once for each user: later calls return the candidates in ``recalled``."""

    recalled: dict[int, Candidates] = field(kw_only=True)

    def run(
        self, request: Request, clock: Clock = time.perf_counter
    ) -> tuple[Candidates, tuple[StepTrace, ...]]:
        user = request.user_number
        if user not in self.recalled:
            self.recalled[user], _ = super().run(request, clock)
        return self.recalled[user], ()


def _measure_pools(
    config: Path, requests: Sequence[Request], recalled: dict[int, Candidates], progress: Progress
) -> list[FunnelPool]:
    """Returns the pools in ``recalled``, ranked and pre-ranked by the current version of ``config``."""
    bundle = open_bundle(config)
    cascade = load_cascade(config, requests[0].scene, bundle)
    recall = RepeatedRecall(cascade.recall.sources, cascade.recall.merger, recalled=recalled)
    cascade = replace(cascade, recall=recall, side_effects=(), naming=None)
    return list(recalled_pools(cascade, bundle.index, requests, progress))


def _compare(
    before: Sequence[FunnelPool], after: Sequence[FunnelPool], part: str, top: int
) -> dict[str, Any]:
    """Returns the fractions of the ranker's best ``top`` that are kept: before, after, and the paired change.

    Each has a 95 % interval from resampling users. Pools with fewer items are left out.
    """
    first, second = (
        np.array([pool.kept_fractions(top)[part] for pool in pools]) for pools in (before, after)
    )
    is_measured = np.isfinite(first) & np.isfinite(second)
    values = {"before": first, "after": second, "change": second - first}
    if not is_measured.any():
        return {name: {"value": None, "ci": None} for name in values}
    bootstrap = UserBootstrap(np.array([pool.user_id for pool in before])[is_measured])
    return {name: bootstrap.mean_with_interval(column[is_measured]) for name, column in values.items()}
