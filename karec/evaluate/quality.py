"""Quality of a run's models on the test days: AUC, GAUC and ECE on the same rows, and agreement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.errors import DataError
from karec.evaluate.agreement import RankedPools
from karec.evaluate.balance import ranker_balance
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.features.cross_tables import CrossWeights
from karec.features.encoder import read_run_encoder
from karec.files import write_text_aside
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples, build_examples, feature_times
from karec.samples.replay import logits_of_rankers
from karec.samples.threads import map_in_order
from karec.times import Progress

RUN_FORMAT = 1  # of run.json
TESTED = "tested"  # folder in a run folder, with the models before the final fit; only these are measured
QUALITY_FORMAT = 1  # of quality.json; docs/formats.md has its keys
TOWERS = "towers"
Measures = dict[str, float | tuple[float, float] | None]
# with 2048 rows and long histories ONNX Runtime needs gigabytes and up to ten times as long
BATCH = 256


def tested_folder(run: Path) -> Path:
    """Returns the folder of a run's tested models: ``run``/tested, or ``run`` without a final fit."""
    return run / TESTED if (run / TESTED).is_dir() else run


def evaluate_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Measures the tested models of a run folder on the test days. Writes and returns quality.json's content.

    ``models``: ``quality_table`` of the trained baselines, towers, and last the ranker by its kind: mmoe, lr
    or lightgbm. ``agreement``: of the towers with the ranker (``RankedPools.measure``), None if there are too
    few items. ``balance``: ``ranker_balance``. Raises DataError like ``trained_run``.
    """
    folder = tested_folder(folder)
    run, test = trained_run(dataset, folder)
    settings = run["settings"]
    logits = _logits(run, test, folder, progress)
    probabilities = {name: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64))) for name, s in logits.items()}
    table = quality_table(
        probabilities,
        test.exposures,
        test.encoder.tasks,
        dataset.valid_until_ms,
        settings["evaluation"]["resamples"],
        settings["seed"],
    )
    ranker = OnnxModel(folder / "ranker.onnx")
    balance = ranker_balance(
        test,
        ranker,
        logits[settings["ranker"]["kind"]],
        resamples=settings["evaluation"]["resamples"],
        seed=settings["seed"],
        threads=settings["run"]["threads"],
    )
    agreement = _agreement(settings, test, ranker, folder, progress)
    quality = {"models": table, "agreement": agreement, "balance": balance}
    write_text_aside(folder / "quality.json", quality_json(quality))
    return quality


def _logits(
    run: Mapping[str, Any], test: Examples, folder: Path, progress: Progress | None
) -> dict[str, NDArray[Any]]:
    """Returns {model: (M, T) logits of the test rows} in the order of the tables; the ranker is last."""
    kind, tasks, threads = (
        run["settings"]["ranker"]["kind"],
        test.encoder.tasks,
        run["settings"]["run"]["threads"],
    )
    files = {
        name: f"baseline_{name}.onnx" for name in run["settings"]["evaluation"]["baselines"] if name != kind
    }
    models = [OnnxModel(folder / file) for file in (*files.values(), "ranker.onnx")]
    *others, ranked = logits_of_rankers(test, models, progress, threads)
    logits = {name: values[:, : len(tasks)] for name, values in zip(files, others, strict=True)}
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    weights = CrossWeights.load(folder / CROSS_WEIGHTS, test.encoder)
    logits[TOWERS] = tower_logits(test, user_tower, item_tower, run["towers"], threads, weights)
    logits[kind] = ranked[:, : len(tasks)]  # the ranker's auxiliary tasks come after the encoder's
    return logits


def _agreement(
    settings: Mapping[str, Any], test: Examples, ranker: OnnxModel, folder: Path, progress: Progress | None
) -> dict[str, Any] | None:
    pools = RankedPools.from_ranker(
        test,
        ranker,
        ObjectiveWeights(settings["fusion"]),
        seed=settings["seed"],
        threads=settings["run"]["threads"],
        progress=progress,
    )
    if pools is None:
        return None
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    weights = CrossWeights.load(folder / CROSS_WEIGHTS, test.encoder)

    def score_pool(row: int, items: NDArray[Any]) -> NDArray[Any]:
        inputs = test.pool(row, items)
        (user,), (vectors,) = user_tower.run(inputs, "user_vector"), item_tower.run(inputs, "item_vector")
        scores = vectors @ user[0]
        if weights is not None:
            scores = scores + weights.terms(inputs["crosses"]).sum(axis=1)
        return np.asarray(scores)

    return pools.measure(score_pool, settings["evaluation"]["resamples"], settings["seed"])


def quality_json(quality: Mapping[str, Any]) -> str:
    """Returns the text of quality.json for the result of ``evaluate_run``."""
    return json.dumps({"format": QUALITY_FORMAT, **quality}, indent=1)


def quality_table(
    predictions: Mapping[str, NDArray[Any]],
    exposures: Impressions,
    tasks: Sequence[str],
    start_ms: int,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, Measures]]:
    """Returns {model: {task: measures}}: auc, gauc, ece and differences to the last model and to the towers.

    auc_behind and gauc_behind: how far the model is behind the last model; …_behind_towers: behind the
    towers, if there are any. Each measure has a 95 % interval over users, …_ci. Differences are paired: both
    use the same resamples of users. None means that the rows do not determine the value, such as the AUC of
    labels of one class.

    ``predictions``: {model: (N, T) probabilities} in the order of ``tasks``. GAUC groups by (user, day from
    ``start_ms``).
    """
    bootstrap = UserBootstrap(exposures.user_id, resamples, seed)
    group = user_days(exposures.user_id, exposures.time_ms, start_ms)
    for model, p in predictions.items():
        if p.shape != (len(exposures), len(tasks)):
            raise ValueError(f"{model}: predictions {p.shape}, expected {(len(exposures), len(tasks))}")
    behind = {"behind": list(predictions)[-1]} | ({"behind_towers": TOWERS} if TOWERS in predictions else {})
    table: dict[str, dict[str, Measures]] = {model: {} for model in predictions}
    for column, task in enumerate(tasks):
        y = exposures.labels[task]
        draws = {
            model: _resampled_measures(y, p[:, column], group, bootstrap) for model, p in predictions.items()
        }
        for model, own_measures in draws.items():
            measures = dict(own_measures)
            for name, other in behind.items():
                for measure in ("auc", "gauc"):
                    (other_value, other_draws), (own_value, own_draws) = (
                        draws[other][measure],
                        own_measures[measure],
                    )
                    measures[f"{measure}_{name}"] = other_value - own_value, other_draws - own_draws
            table[model][task] = _with_intervals(measures)
    return table


def _resampled_measures(
    y: NDArray[Any], p: NDArray[Any], group: NDArray[Any], bootstrap: UserBootstrap
) -> dict[str, tuple[float, NDArray[Any]]]:
    """Returns {measure: (value, resampled values (R,))} of one model and task."""
    return {
        "auc": (auc(y, p), bootstrap.auc(y, p)),
        "gauc": (gauc(y, p, group), bootstrap.gauc(y, p, group)),
        "ece": (ece(y, p), bootstrap.ece(y, p)),
    }


def _with_intervals(resampled: Mapping[str, tuple[float, NDArray[Any]]]) -> Measures:
    measures: Measures = {}
    for name, (value, draws) in resampled.items():
        interval = bootstrap_interval(draws)
        measures[name] = value if np.isfinite(value) else None
        measures[f"{name}_ci"] = interval if np.isfinite(interval).all() else None
    return measures


def read_run(folder: Path) -> dict[str, Any]:
    """Returns run.json of a run folder. Raises DataError if ``folder`` is not one, or of another format."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: not a run folder of karec train: {error}") from error
    if not isinstance(run, dict) or run.get("format") != RUN_FORMAT:
        actual = run.get("format") if isinstance(run, dict) else None
        raise DataError(
            f"{folder}/run.json: format is {actual}, expected {RUN_FORMAT}. Train the run again, or evaluate "
            "it with the version that trained it."
        )
    return run


def trained_run(dataset: Dataset, folder: Path) -> tuple[dict[str, Any], Examples]:
    """Returns run.json of a run's tested models, and the test days as their encoder encodes them.

    Days before the models' last training moment are left out. Raises DataError if ``folder`` is not a run
    folder of this format or the test days have no exposures.
    """
    folder = tested_folder(folder)
    run = read_run(folder)
    encoder = read_run_encoder(folder, dataset.snapshot)
    times = feature_times(dataset, run["settings"]["features"]["refresh_hours"])
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, times)
    until_ms = max(dataset.valid_until_ms, run.get("trained_until_ms", 0))
    test = examples.take(dataset.exposures.time_ms >= until_ms)
    if not len(test):
        raise DataError(
            f"{dataset.name}: no exposures on the test days that no model learned from, so there is "
            "nothing to measure"
        )
    return run, test


def tower_logits(
    examples: Examples,
    user_tower: OnnxModel,
    item_tower: OnnxModel,
    heads: Mapping[str, Mapping[str, float]],
    threads: int = 0,
    cross_weights: CrossWeights | None = None,
) -> NDArray[Any]:
    """Returns (M, T): scale · (slope · score + level) + bias from the exported towers.

    The score is ⟨task vector, item vector⟩, plus the terms of wide towers with ``cross_weights``. The user
    tower runs once per user side. ``heads``: see run.json; ``threads``: see ``map_in_order``.
    """
    scale, bias = (
        np.array([heads[part][task] for task in examples.encoder.tasks]) for part in ("scale", "bias")
    )
    first, side = examples.user_sides()

    def run_users(begin: int) -> tuple[NDArray[Any], ...]:
        return user_tower.run(
            examples.users(first[begin : begin + BATCH]), "task_vectors", "slopes", "levels"
        )

    user_outputs = list(map_in_order(run_users, range(0, len(first), BATCH), threads))
    users, slopes, levels = (np.concatenate(part) for part in zip(*user_outputs, strict=True))

    def run_rows(begin: int) -> NDArray[Any]:
        rows = np.arange(begin, min(begin + BATCH, len(examples)))
        (items,) = item_tower.run(examples.own_items(rows), "item_vector")
        sides = side[rows]
        scores = np.einsum("ntd,nd->nt", users[sides], items)
        if cross_weights is not None:
            crosses = examples.inputs(rows)["crosses"]
            terms = [cross_weights.terms(crosses, 1 + task).sum(axis=1) for task in range(len(scale))]
            scores = scores + np.stack(terms, axis=1).astype(np.float32)
        return np.asarray(scale * (slopes[sides, 1:] * scores + levels[sides, 1:]) + bias)

    return np.concatenate(list(map_in_order(run_rows, range(0, len(examples), BATCH), threads)))
