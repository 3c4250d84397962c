"""What a run's models are worth on the test days, all on the same rows, as they serve: through ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from karec._clock import Progress
from karec.errors import DataError
from karec.evaluate.measures.accuracy import quality
from karec.features.encoder import Encoder
from karec.models.onnx_model import OnnxModel
from karec.platform.dataset import Dataset
from karec.training_data.examples import Examples, as_known, build_examples
from karec.training_data.popularity import popularity_logits
from karec.training_data.replay import ranker_logits
from karec.types import Array

BATCH = 2048  # a larger one costs ONNX Runtime hundreds of MiB and gains no time


def evaluate_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """``karec.evaluate.measures.accuracy.quality`` of the models in a run folder, on the test days, the ranker last.

    Rows: popularity, the baselines that were trained, towers, and the ranker, called teacher when it is the MMoE. Also
    written as quality.json. Raises DataError as ``trained_run`` does.
    """
    run, test = trained_run(dataset, folder)
    settings = run["settings"]
    logits = {"popularity": popularity_logits(test)}
    for name in settings["baselines"]:
        if name != settings["ranker"]:
            model = OnnxModel(folder / f"baseline_{name}.onnx", threads=0)
            logits[name] = ranker_logits(test, model, progress)
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx", threads=0) for side in ("user", "item"))
    logits["towers"] = tower_logits(test, user_tower, item_tower, run["towers"])
    name = "teacher" if settings["ranker"] == "mmoe" else settings["ranker"]
    ranked = ranker_logits(test, OnnxModel(folder / "ranker.onnx", threads=0), progress)
    logits[name] = ranked[:, : len(test.encoder.tasks)]  # what it learned besides comes after
    probabilities = {name: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64))) for name, s in logits.items()}
    table = quality(
        probabilities,
        test.exposures,
        test.encoder.tasks,
        dataset.valid_until_ms,
        settings["resamples"],
        settings["seed"],
    )
    (folder / "quality.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return table


def trained_run(dataset: Dataset, folder: Path) -> tuple[dict[str, Any], Examples]:
    """(run.json of a run folder, the test days as its encoder sees them).

    Raises DataError when ``folder`` is no run folder or no exposures follow validation.
    """
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a run folder of karec train: {error}") from error
    encoder = Encoder.load(folder / "encoder.npz")
    as_of = as_known(dataset, run["settings"]["refresh_hours"])
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    test = examples.take(dataset.exposures.time_ms >= dataset.valid_until_ms)
    if not len(test):
        raise DataError(f"{dataset.name} has no exposures from {dataset.valid_until_ms} ms on: nothing to test on")
    return run, test


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
