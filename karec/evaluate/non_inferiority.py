"""Compares a new version with the current one: mean AUC over tasks on the newest day, paired by user.

Ranker and towers are compared by the mean AUC of the tasks with both values on that day. The gain of the new
version has a 95 % interval from resampling users, with the same resamples for both versions. A version is a
folder with models and their encoder, of a run or a bundle. Towers are measured without the heads' scales and
biases, which bundles lack and which do not change the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.dataset import Dataset
from karec.catalog.snapshot import Snapshot
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval
from karec.evaluate.quality import TOWERS, tower_logits
from karec.features.cross_tables import CrossWeights
from karec.features.encoder import Encoder
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples, feature_times
from karec.samples.replay import logits_of_rankers
from karec.times import Progress

RANKER = "ranker"


def compare_versions(
    dataset: Dataset,
    new: Path,
    in_service: Path,
    margin: float,
    *,
    since_ms: int,
    refresh_hours: float,
    resamples: int,
    seed: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns the content of ``compared`` in run.json, measured on the rows from ``since_ms`` on.

    ``models``: {ranker, towers: {"new", "in_service", "gain", "gain_ci"}}. ``no_worse``: for both the lower
    end of gain_ci is at least −``margin``; gain_ci is None if resamples have no AUC. Raises DataError if the
    test days have no exposure, no task has both values there, or a version predicts other tasks.
    """
    test = dataset.exposures.take(dataset.exposures.time_ms >= since_ms)
    tasks = [task for task in dataset.tasks if test.labels[task].any() and not test.labels[task].all()]
    if not tasks:
        raise DataError(f"{dataset.name}: no task has both values on the newest day ({len(test):,} rows)")
    scores = [
        _scores(dataset, folder, since_ms, refresh_hours, threads, progress) for folder in (new, in_service)
    ]
    bootstrap = UserBootstrap(test.user_id, resamples, seed)
    models = {}
    for name in (RANKER, TOWERS):
        new_auc, current_auc = (
            _mean_auc(dataset, tasks, version_scores[name], test.labels, bootstrap)
            for version_scores in scores
        )
        models[name] = _gain(*new_auc, *current_auc)
    intervals = [model["gain_ci"] for model in models.values()]
    return {
        "margin": margin,
        "versions": [OnnxModel(folder / "ranker.onnx").model_version for folder in (new, in_service)],
        "tasks": tasks,
        "since_ms": since_ms,
        "exposures": len(test),
        "users": len(np.unique(test.user_id)),
        "models": models,
        "no_worse": all(interval is not None and interval[0] >= -margin for interval in intervals),
    }


def _gain(new: float, new_draws: NDArray[Any], current: float, current_draws: NDArray[Any]) -> dict[str, Any]:
    low, high = bootstrap_interval(new_draws - current_draws)
    interval = (low, high) if np.isfinite(low) else None
    return {"new": new, "in_service": current, "gain": new - current, "gain_ci": interval}


def _scores(
    dataset: Dataset,
    folder: Path,
    since_ms: int,
    refresh_hours: float,
    threads: int,
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Returns {ranker, towers: (M, T) scores of the test rows}, in the order of the dataset's tasks."""
    encoder = Encoder.load(folder / "encoder.npz")
    if (folder / "snapshot").exists():  # a bundle, perhaps of data with other category codes
        encoder = encoder.with_codes(Snapshot.open(folder / "snapshot").labels, dataset.snapshot.labels)
    if tuple(encoder.tasks) != tuple(dataset.tasks):
        raise DataError(
            f"{folder}: tasks are {list(encoder.tasks)}, expected {list(dataset.tasks)} as in {dataset.name}"
        )
    examples = build_examples(
        encoder, dataset.snapshot, dataset.exposures, feature_times(dataset, refresh_hours)
    )
    test = examples.take(dataset.exposures.time_ms >= since_ms)
    (ranked,) = logits_of_rankers(test, [OnnxModel(folder / "ranker.onnx")], progress, threads)
    heads = {part: dict.fromkeys(encoder.tasks, value) for part, value in (("scale", 1.0), ("bias", 0.0))}
    user, item = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    weights = CrossWeights.load(folder / CROSS_WEIGHTS, encoder)
    return {RANKER: ranked, TOWERS: tower_logits(test, user, item, heads, threads, weights)}


def _mean_auc(
    dataset: Dataset,
    tasks: list[str],
    scores: NDArray[Any],
    labels: Mapping[str, NDArray[Any]],
    bootstrap: UserBootstrap,
) -> tuple[float, NDArray[Any]]:
    """Returns the mean AUC of the tasks and its resampled values (R,), NaN if a resample lacks a class."""
    columns = [(labels[task], scores[:, dataset.tasks.index(task)]) for task in tasks]
    draws = np.stack([bootstrap.auc(y, s) for y, s in columns])
    return float(np.mean([auc(y, s) for y, s in columns])), draws.mean(axis=0)
