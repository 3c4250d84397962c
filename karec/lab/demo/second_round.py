"""The demo's second round: towers learn from the logged requests of the first bundle.

Requests of some users teach: their whole pools and the ranked works are logged, and in a world their pages
get feedback. Requests of other users are kept apart: both rounds are measured on their pools.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import next_version
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.config import load_cascade, open_bundle
from karec.config.project import main_scene
from karec.evaluate.quality import quality_table, tower_logits, trained_run
from karec.index import ItemIndex
from karec.lab.demo.rounds import compare_rounds, kept_by_towers
from karec.lab.demo.serve import asked_users
from karec.lab.simulate.world import World
from karec.lab.simulate.world.answers import answers
from karec.learn.run.from_log import ServedRun, train_from_log
from karec.learn.run.train import TrainResult
from karec.logs.read import RankLog, read_rank_log
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.types import Page, Request
from karec.steps.side_effects.rank_log import RankLog as RankLogStep
from karec.steps.side_effects.shadow import Shadow
from karec.times import Progress

TEACHING = 2  # teaching requests per request of the demo
MEASURED, MAX_MEASURED = 0.5, 50  # measured requests per request of the demo, and their maximum
POOL, MEASURED_POOL = 1_000, 10_000  # works of a pool that the ranker scores; lists use 40 of a teaching pool
FLUSH_INTERVAL = 8  # requests between two flushes: a full side-effect queue drops requests


@dataclass(frozen=True, eq=False)
class Taught:
    """Served requests that teach, and pools to measure on.

    log      folder of the rank log
    feeds    the pages
    answers  feedback to them; None without a world
    pools    pools of other users
    share    fraction of a pool that prerank passes
    first    ``kept_by_towers`` of the first round on these pools
    """

    log: Path
    feeds: Sequence[Page]
    answers: Impressions | None
    pools: Sequence[RankLog]
    share: float
    first: Mapping[int, NDArray[Any]]


def can_teach(dataset: Dataset, n_requests: int) -> bool:
    """Returns True if there are users to teach with, and others to measure on."""
    return all(len(users) for users in _users(dataset, n_requests))


def serve_to_teach(
    dataset: Dataset, world: World | None, config: Path, n_requests: int, progress: Progress | None = None
) -> Taught:
    """Serves the teaching and the measured requests, one per user, at the begin of the test days.

    They are logged into ``served_log`` and ``measured_log`` beside ``config``.
    """
    out = config.parent
    measured, teaching = _users(dataset, n_requests)
    feeds = _serve_logged(
        dataset, config, teaching, out / "served_log", POOL, progress, "serving teaching requests"
    )
    shown = _serve_logged(
        dataset, config, measured, out / "measured_log", MEASURED_POOL, progress, "serving measured requests"
    )
    log = read_rank_log(out / "measured_log", dataset.tasks)
    pools = list(log.take(log.shadow).requests())
    share = float(
        np.mean([feed.trace.stage_sizes()["prerank"] / feed.trace.stage_sizes()["recall"] for feed in shown])
    )
    first = kept_by_towers(*_cascade_without_side_effects(dataset, config), pools, share)
    outcomes = None if world is None else answers(world.truth, dataset.snapshot, feeds)
    return Taught(out / "served_log", feeds, outcomes, pools, share, first)


def _users(dataset: Dataset, n_requests: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(users of the test days to measure on, half of those that are served at most; others that were seen
    before)."""
    users = asked_users(dataset, max(n_requests, 2))
    measured = users[: min(max(round(MEASURED * n_requests), 1), MAX_MEASURED, len(users) // 2)]
    known = np.unique(dataset.exposures.user_id[dataset.exposures.time_ms < dataset.valid_until_ms])
    others = np.setdiff1d(known, measured)
    return measured, np.random.default_rng(1).permutation(others)[: TEACHING * n_requests]


def _serve_logged(
    dataset: Dataset,
    config: Path,
    users: NDArray[Any],
    log: Path,
    max_works: int,
    progress: Progress | None,
    message: str,
) -> list[Page]:
    """Serves a page for each of ``users``, each as a shadow request, logged into the empty folder ``log``."""
    shutil.rmtree(log, ignore_errors=True)
    cascade, index = _cascade_without_side_effects(dataset, config)
    ranker = open_bundle(config).ranker
    stages, folder = cascade.stages, log.parent
    observers = (
        RankLogStep(ranker, folder, log.name),
        Shadow(ranker, index.schema, stages, folder, log.name, share=1.0, at_most=max_works),
    )
    for observer, name in zip(observers, ("rank_log", "shadow"), strict=True):
        observer.name = name
    queues = tuple(SideEffectQueue(observer) for observer in observers)
    feeds = []
    with replace(cascade, side_effects=queues) as logged_cascade:
        for done, user in enumerate(users, 1):
            request = Request(
                int(user),
                scene=cascade.scene,
                time_ms=dataset.valid_until_ms,
                request_id=f"{log.name}-{user}",
            )
            feeds.append(replace(logged_cascade.run(request), scored={}))  # ``scored`` has the whole pool
            if done % FLUSH_INTERVAL == 0 or done == len(users):
                for queue in queues:
                    queue.flush()
                if progress is not None:
                    progress(done, len(users), message)
    return feeds


def _cascade_without_side_effects(dataset: Dataset, config: Path) -> tuple[Cascade, ItemIndex]:
    """Returns (the current cascade of ``config`` without side effects and id mapping, its index)."""
    bundle = open_bundle(config)
    cascade = load_cascade(config, main_scene(dataset), bundle)
    return replace(cascade, side_effects=(), naming=None), bundle.index


def learn_from_served(
    dataset: Dataset, trained: TrainResult, taught: Taught, out: Path, progress: Progress | None = None
) -> TrainResult:
    """Trains the second round: one epoch from the ``trained`` towers, over the first log and the served
    requests.
    """
    first = ServedRun.from_folder(trained.folder)
    version = next_version(out / "bundles")
    settings = first.settings.replace(model_version=version, towers={"epochs": 1})
    return train_from_log(
        dataset,
        first,
        taught.log,
        settings,
        out / f"run-{version}",
        progress,
        outcomes=taught.answers,
        evaluate=False,  # ``rounds_of`` measures the towers; nothing else changed
        first=trained.tower_inputs,
    )


def rounds_of(dataset: Dataset, runs: tuple[Path, Path], taught: Taught, config: Path) -> dict[str, Any]:
    """Returns the report's ``rounds``: numbers of requests and pools, measures of both rounds, and their
    gain.
    """
    second = kept_by_towers(*_cascade_without_side_effects(dataset, config), taught.pools, taught.share)
    users = np.array([int(pool.user_id[0]) for pool in taught.pools])
    return {
        "taught_by": {
            "requests": len(taught.feeds),
            "outcomes": 0 if taught.answers is None else len(taught.answers),
        },
        "measured_on": {
            "requests": len(taught.pools),
            "pool": int(np.median([len(pool) for pool in taught.pools])),
            "share": taught.share,
        },
        **compare_rounds(users, (taught.first, second), _tower_quality(dataset, runs)),
    }


def _tower_quality(dataset: Dataset, runs: tuple[Path, Path]) -> dict[str, Any]:
    """Returns ``quality_table`` of the towers of both runs on the test days."""
    facts, test = trained_run(dataset, runs[0])
    predictions = {}
    for name, run in zip(("first", "second"), runs, strict=True):
        heads = ServedRun.from_folder(run).facts["towers"]
        user, item = (OnnxModel(run / f"{side}_tower.onnx") for side in ("user", "item"))
        predictions[name] = 1.0 / (1.0 + np.exp(-tower_logits(test, user, item, heads)))
    settings = facts["settings"]
    return quality_table(
        predictions,
        test.exposures,
        test.encoder.tasks,
        dataset.valid_until_ms,
        settings["evaluation"]["resamples"],
        settings["seed"],
    )
