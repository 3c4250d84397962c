"""The demo's second round: what the first bundle serves is logged, and towers learn from that.

Requests of some users teach: their whole pools and what was ranked for them are logged, and in a world their
feeds are answered. Requests of other users are kept apart: on their pools both rounds are measured.
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

TEACHING = 2  # requests that teach, for each that the demo serves in the end
MEASURED, MOST_MEASURED = 0.5, 50  # requests whose pools are measured, likewise, and at most
# works of a pool that the ranker scores; lists take 40 of those that teach
POOL, MEASURED_POOL = 1_000, 10_000
AT_ONCE = 8  # requests between two waits for the observers, which would drop what they cannot keep up with


@dataclass(frozen=True, eq=False)
class Taught:
    """What was served to teach: the log's folder, the feeds, and what happened to them, None where nobody
    answers; and the pools to measure on, with what both rounds are compared by: the first round's scores of
    them.
    """

    log: Path
    feeds: Sequence[Page]
    answers: Impressions | None
    pools: Sequence[RankLog]
    share: float
    first: Mapping[int, NDArray[Any]]


def can_teach(dataset: Dataset, n_requests: int) -> bool:
    """Whether there are users to teach by, and others to measure on."""
    return all(len(users) for users in _users(dataset, n_requests))


def serve_to_teach(
    dataset: Dataset, world: World | None, config: Path, n_requests: int, progress: Progress | None = None
) -> Taught:
    """Serve what teaches and what is measured, each user once, at the moment test begins, into ``served_log``
    and ``measured_log`` beside ``config``.
    """
    out = config.parent
    measured, teaching = _users(dataset, n_requests)
    feeds = _served(dataset, config, teaching, out / "served_log", POOL, progress, "serving to teach")
    shown = _served(
        dataset, config, measured, out / "measured_log", MEASURED_POOL, progress, "serving to measure on"
    )
    log = read_rank_log(out / "measured_log", dataset.tasks)
    pools = list(log.take(log.shadow).requests())
    share = float(
        np.mean([feed.trace.stage_sizes()["prerank"] / feed.trace.stage_sizes()["recall"] for feed in shown])
    )
    first = kept_by_towers(*_unobserved(dataset, config), pools, share)
    outcomes = None if world is None else answers(world.truth, dataset.snapshot, feeds)
    return Taught(out / "served_log", feeds, outcomes, pools, share, first)


def _users(dataset: Dataset, n_requests: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(users of the test days to measure on, half of those that are served at most; others that were seen
    before)."""
    asked = asked_users(dataset, max(n_requests, 2))
    measured = asked[: min(max(round(MEASURED * n_requests), 1), MOST_MEASURED, len(asked) // 2)]
    known = np.unique(dataset.exposures.user_id[dataset.exposures.time_ms < dataset.valid_until_ms])
    others = np.setdiff1d(known, measured)
    return measured, np.random.default_rng(1).permutation(others)[: TEACHING * n_requests]


def _served(
    dataset: Dataset,
    config: Path,
    users: NDArray[Any],
    log: Path,
    most: int,
    progress: Progress | None,
    what: str,
) -> list[Page]:
    """A feed for each of ``users``, every request a shadow request, logged into the empty folder ``log``."""
    shutil.rmtree(log, ignore_errors=True)
    cascade, index = _unobserved(dataset, config)
    ranker = open_bundle(config).ranker
    stages, folder = cascade.stages, log.parent
    observers = (
        RankLogStep(ranker, folder, log.name),
        Shadow(ranker, index.schema, stages, folder, log.name, share=1.0, at_most=most),
    )
    for observer, name in zip(observers, ("rank_log", "shadow"), strict=True):
        observer.name = name
    queues = tuple(SideEffectQueue(observer) for observer in observers)
    feeds = []
    with replace(cascade, side_effects=queues) as observed:
        for done, user in enumerate(users, 1):
            asked = Request(
                int(user),
                scene=cascade.scene,
                time_ms=dataset.valid_until_ms,
                request_id=f"{log.name}-{user}",
            )
            feeds.append(replace(observed.run(asked), scored={}))  # which holds the whole pool
            if done % AT_ONCE == 0 or done == len(users):
                for queue in queues:
                    queue.flush()
                if progress is not None:
                    progress(done, len(users), what)
    return feeds


def _unobserved(dataset: Dataset, config: Path) -> tuple[Cascade, ItemIndex]:
    """(the cascade that ``config`` serves now, which logs nothing and knows ids as numbers, its index)."""
    bundle = open_bundle(config)
    cascade = load_cascade(config, main_scene(dataset), bundle)
    return replace(cascade, side_effects=(), naming=None), bundle.index


def learn_from_served(
    dataset: Dataset, trained: TrainResult, taught: Taught, out: Path, progress: Progress | None = None
) -> TrainResult:
    """The second round's towers: one pass, from those that were ``trained``, over the first log and what was
    served."""
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
        evaluate=False,  # ``rounds_of`` measures the towers, which alone have changed
        first=trained.tower_inputs,
    )


def rounds_of(dataset: Dataset, runs: tuple[Path, Path], taught: Taught, config: Path) -> dict[str, Any]:
    """The report's ``rounds``: what taught, what it was measured on, and both rounds' measures with their
    gain."""
    second = kept_by_towers(*_unobserved(dataset, config), taught.pools, taught.share)
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
    """``quality_table`` of the towers of both runs on the test days."""
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
