"""Study of content vectors: pages of new works by models with and without the works' own vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.quality import read_run
from karec.evaluate.tables import format_measure
from karec.features.encoder import Encoder
from karec.lab.report import Table as TextTable
from karec.lab.simulate.world import World
from karec.lab.simulate.world.content import content_vectors
from karec.lab.simulate.world.tastes import Truth
from karec.lab.studies.true_gains import ndcg_of_gains
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples, build_examples
from karec.samples.replay import pool_logits
from karec.times import Progress

CONTENT = "audio"  # column of the vectors
AT = 20  # works of a page
ARMS = ("without vectors", "with vectors")


def measure_content(
    world: World,
    settings: TrainSettings,
    out: Path,
    *,
    width: int,
    seeds: Sequence[int],
    n_users: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains without and with vectors of ``width`` numbers, and orders the works of the test days by both.

    No model has seen an impression of these works, and their counters are 0. A page has the AT best of them
    for a user of the test days; its NDCG has as gain the true probability of each task, weighted as in the
    fused score.

    Returns {"works", "users", "seeds", "models": {ranker, towers: {arm: NDCG, "gain", "gain_ci"}}}, means
    over seeds, with 95 % intervals over users. ``out``/seed-S-ARM has the runs; finished ones are kept.
    """
    requests, works = _requests(world.dataset, n_users)
    gains = _true_gains(world, requests, works)
    measured: dict[str, dict[str, list[NDArray[Any]]]] = {}
    for seed in seeds:
        for arm in ARMS:
            dataset = world.dataset
            if arm == ARMS[1]:
                snapshot = with_vectors(dataset.snapshot, world.truth, width)
                dataset = replace(dataset, snapshot=snapshot)
            run = out / f"seed-{seed}-{arm.replace(' ', '-')}"
            chosen = settings.replace(seed=seed, evaluation={"baselines": ()}, run={"final_fit": False})
            if not (run / "run.json").exists():
                train(dataset, chosen, run, progress, evaluate=False)
            for model, scores in _scores(dataset, run, requests, works, progress).items():
                measured.setdefault(model, {}).setdefault(arm, []).append(ndcg_of_gains(scores, gains, AT))
    bootstrap = UserBootstrap(np.arange(len(requests)))
    models = {}
    for model, arms in measured.items():
        before, after = (np.mean(arms[arm], axis=0) for arm in ARMS)
        gain = bootstrap.mean_with_interval(after - before)
        models[model] = {
            **{arm: float(np.mean(values)) for arm, values in arms.items()},
            "by_seed": {arm: [float(values.mean()) for values in arms[arm]] for arm in ARMS},
            "gain": gain["value"],
            "gain_ci": gain["ci"],
        }
    return {"works": len(works), "users": len(requests), "seeds": list(seeds), "models": models}


def content_table(report: Mapping[str, Any]) -> TextTable:
    rows = [
        (
            model,
            *(f"{values[arm]:.4f}" for arm in ARMS),
            format_measure(values["gain"], values["gain_ci"], signed=True),
        )
        for model, values in report["models"].items()
    ]
    title = (
        f"NDCG@{AT} of {report['works']:,} new works, {report['users']:,} users, {len(report['seeds'])} seeds"
    )
    return TextTable(title, ("", *ARMS, "gain, paired"), rows)


def with_vectors(snapshot: Snapshot, truth: Truth, width: int) -> Snapshot:
    """Returns ``snapshot``, which has the works of ``truth``, with their vectors of ``width`` numbers."""
    columns = {**snapshot.works.columns, CONTENT: content_vectors(truth, width, seed=0)}
    return replace(snapshot, works=Table(snapshot.works.ids, columns))


def _requests(dataset: Dataset, n_users: int) -> tuple[Any, NDArray[Any]]:
    """Returns one impression per user of the test days, at their end, and the rows of works since then."""
    test = dataset.exposures.take(dataset.exposures.time_ms >= dataset.valid_until_ms)
    first = np.unique(test.user_id, return_index=True)[1]
    rows = np.sort(np.random.default_rng(0).permutation(first)[:n_users])
    users, times = test.take(rows), np.full(len(rows), dataset.end_ms)
    requests = replace(users, time_ms=times, scene=np.zeros_like(users.scene))
    published_ms = dataset.snapshot.published_ms
    is_new = (published_ms >= dataset.valid_until_ms) & (published_ms < dataset.end_ms)
    return requests, np.flatnonzero(is_new)


def _true_gains(world: World, requests: Any, works: NDArray[Any]) -> NDArray[Any]:
    """Returns (users, works): Σ weight · true probability of the tasks."""
    dataset = world.dataset
    users = np.repeat(dataset.snapshot.users.lookup(requests.user_id), len(works))
    rows = np.tile(works, len(requests))
    times = np.repeat(requests.time_ms, len(works))
    truth = world.task_probabilities(users, rows, times, np.zeros(len(rows), np.int64))
    weights = np.array([dataset.objectives[task] for task in dataset.tasks])
    return np.asarray((truth @ weights).reshape(len(requests), len(works)))


def _scores(
    dataset: Dataset, run: Path, requests: Any, works: NDArray[Any], progress: Progress | None
) -> dict[str, NDArray[Any]]:
    """Returns {ranker, towers: (users, works) scores} with the state at the begin of the test days."""
    encoder = Encoder.load(run / "encoder.npz")
    as_of = np.full(len(requests), dataset.valid_until_ms)
    examples = build_examples(encoder, dataset.snapshot, requests, as_of, happened=dataset.exposures)
    fusion = ObjectiveWeights(read_run(run)["settings"]["fusion"])
    ranker = OnnxModel(run / "ranker.onnx")
    ranked = []
    for row in range(len(requests)):
        ranked.append(fusion(pool_logits(examples, row, works, ranker), ranker.tasks))
        if progress is not None:
            progress(row + 1, len(requests), "ranking new works")
    return {"ranker": np.stack(ranked), "towers": _products(examples, run, works)}


def _products(examples: Examples, run: Path, works: NDArray[Any]) -> NDArray[Any]:
    user_tower, item_tower = (OnnxModel(run / f"{side}_tower.onnx") for side in ("user", "item"))
    (users,) = user_tower.run(examples.users(np.arange(len(examples))), "user_vector")
    (items,) = item_tower.run(examples.items(np.zeros(len(works), np.int64), works), "item_vector")
    return np.asarray(users @ items.T)
