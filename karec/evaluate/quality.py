"""Quality of a training run's models on the test days: AUC, GAUC, ECE on the same rows, served by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from karec._clock import Progress
from karec._files import write_text_aside
from karec.errors import DataError
from karec.evaluate.measures.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.features.encoder import Encoder
from karec.models.onnx_model import OnnxModel
from karec.platform.dataset import Dataset
from karec.platform.events import Exposures
from karec.training_data.examples import Examples, as_known, build_examples
from karec.training_data.popularity import popularity_logits
from karec.training_data.replay import ranker_logits
from karec.types import Array

RUN_FORMAT = 2  # of run.json; in format 1, which had no number, settings were one flat table
QUALITY_FORMAT = 2  # of quality.json; format 1, which had no number, was the value of models alone
BATCH = 2048  # a larger one costs ONNX Runtime hundreds of MiB and gains no time


def evaluate_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """``quality_table`` of the models in a run folder, on the test days; written there as quality.json too.

    Rows: popularity, the baselines that were trained, towers, and last the ranker, named by its kind: mmoe, lr,
    lightgbm, or both, whose two parts have a row each. Raises DataError as ``trained_run`` does.
    """
    run, test = trained_run(dataset, folder)
    settings = run["settings"]
    kind, evaluation = settings["ranker"]["kind"], settings["evaluation"]
    logits = {"popularity": popularity_logits(test)}
    files = {name: f"baseline_{name}.onnx" for name in evaluation["baselines"] if name != kind}
    if kind == "both":
        files |= {part: f"ranker_{part}.onnx" for part in ("lightgbm", "mmoe")}
    for name, file in files.items():
        predicted = ranker_logits(test, OnnxModel(folder / file, threads=0), progress)
        logits[name] = predicted[:, : len(test.encoder.tasks)]
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx", threads=0) for side in ("user", "item"))
    logits["towers"] = tower_logits(test, user_tower, item_tower, run["towers"])
    ranked = ranker_logits(test, OnnxModel(folder / "ranker.onnx", threads=0), progress)
    logits[kind] = ranked[:, : len(test.encoder.tasks)]  # the ranker's auxiliary tasks come after the encoder's
    probabilities = {name: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64))) for name, s in logits.items()}
    table = quality_table(
        probabilities,
        test.exposures,
        test.encoder.tasks,
        dataset.valid_until_ms,
        evaluation["resamples"],
        settings["seed"],
    )
    write_text_aside(folder / "quality.json", quality_json(table))
    return table


def quality_json(table: Mapping[str, Any]) -> str:
    """The text of a quality.json: ``quality_table`` under ``models``, beside the format."""
    return json.dumps({"format": QUALITY_FORMAT, "models": table}, indent=1)


def quality_table(
    predictions: Mapping[str, Array],
    exposures: Exposures,
    tasks: Sequence[str],
    start_ms: int,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, float | tuple[float, float]]]]:
    """{model: {task: {auc, auc_ci, gauc, gauc_ci, ece, ece_ci, auc_behind, auc_behind_ci}}}, 95 % intervals over users.

    ``predictions`` {model: (N, T) probabilities} in the order of ``tasks``; GAUC by (user, day from ``start_ms``).
    ``auc_behind`` is how far a model's AUC lies behind the last model's, paired: the same draws of users for both.
    """
    bootstrap = UserBootstrap(exposures.user_id, resamples, seed)
    group = user_days(exposures.user_id, exposures.time_ms, start_ms)
    for model, p in predictions.items():
        if p.shape != (len(exposures), len(tasks)):
            raise ValueError(f"{model}: predictions {p.shape}, expected {(len(exposures), len(tasks))}")
    table: dict[str, dict[str, dict[str, float | tuple[float, float]]]] = {model: {} for model in predictions}
    for at, task in enumerate(tasks):
        y = exposures.labels[task]
        scores = {model: p[:, at] for model, p in predictions.items()}
        aucs = {model: auc(y, s) for model, s in scores.items()}
        draws = {model: bootstrap.auc(y, s) for model, s in scores.items()}
        last = list(scores)[-1]
        for model, s in scores.items():
            table[model][task] = {
                "auc": aucs[model],
                "auc_ci": bootstrap_interval(draws[model]),
                "auc_behind": aucs[last] - aucs[model],
                "auc_behind_ci": bootstrap_interval(draws[last] - draws[model]),
                "gauc": gauc(y, s, group),
                "gauc_ci": bootstrap_interval(bootstrap.gauc(y, s, group)),
                "ece": ece(y, s),
                "ece_ci": bootstrap_interval(bootstrap.ece(y, s)),
            }
    return table


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises DataError when ``folder`` is none, or its run.json is of another format."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a run folder of karec train: {error}") from error
    if not isinstance(run, dict) or run.get("format") != RUN_FORMAT:
        found = run.get("format") if isinstance(run, dict) else None
        raise DataError(
            f"{folder}/run.json has format {found}, this version reads {RUN_FORMAT}: train the run again, or evaluate "
            "it with the version that trained it"
        )
    return run


def trained_run(
    dataset: Dataset, folder: Path, on: Literal["validation", "test"] = "test"
) -> tuple[dict[str, Any], Examples]:
    """(run.json of a run folder, the days ``on`` as its encoder sees them).

    Raises DataError when ``folder`` is no run folder of this format or those days have no exposures.
    """
    run = read_run(folder)
    encoder = Encoder.load(folder / "encoder.npz")
    as_of = as_known(dataset, run["settings"]["features"]["refresh_hours"])
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    time_ms, start_ms = dataset.exposures.time_ms, days_begin(dataset, on)
    measured = examples.take((time_ms >= start_ms) & ((on == "test") | (time_ms < dataset.valid_until_ms)))
    if not len(measured):
        raise DataError(f"{dataset.name} has no exposures from {start_ms} ms on: nothing to measure on")
    return run, measured


def days_begin(dataset: Dataset, on: Literal["validation", "test"]) -> int:
    """The moment at which validation, or test, begins."""
    return dataset.valid_until_ms if on == "test" else dataset.train_until_ms


def tower_logits(
    examples: Examples, user_tower: OnnxModel, item_tower: OnnxModel, heads: Mapping[str, Mapping[str, float]]
) -> Array:
    """(M, T): scale · ⟨task vector, item vector⟩ + bias from the exported towers; ``heads`` as in run.json."""
    scale, bias = (np.array([heads[part][task] for task in examples.encoder.tasks]) for part in ("scale", "bias"))
    parts = []
    for begin in range(0, len(examples), BATCH):
        inputs = examples.inputs(np.arange(begin, min(begin + BATCH, len(examples))))
        (users,) = user_tower.run(inputs, "task_vectors")
        (items,) = item_tower.run(inputs, "item_vector")
        parts.append(scale * np.einsum("ntd,nd->nt", users, items) + bias)
    return np.concatenate(parts)
