"""Quality model of screening: boosted trees that predict the fraction of long views of an upload.

A training row is an item with a fair exposure, weighted by its exposures (at most MAX_WEIGHT), so that the
most shown items do not dominate. A fraction HIDDEN of the cells is hidden in training, so the trees handle
missing cells. The last days are held out for early stopping.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.data.database import open_database
from karec.errors import ConfigError, DataError
from karec.evaluate.metrics.accuracy import auc
from karec.learn.export.onnx_export import TOLERANCE, ExportError, write_onnx
from karec.learn.run.lightgbm import lightgbm_packages, trees_to_onnx
from karec.models.onnx_model import OnnxModel
from karec.screening.outcomes import (
    LearningRows,
    Outcome,
    learning_rows,
    missing_day_notes,
    read_outcomes,
    require_learn,
)
from karec.screening.quality import KIND, OUTPUT
from karec.screening.rules import load_block_lists, read_block_lists
from karec.screening.settings import Learn, ScreeningSettings
from karec.times import Progress

MAX_ROWS = 500_000
MAX_WEIGHT = 200.0  # exposures
HELD_OUT = 0.25  # fraction of the days
HIDDEN = 0.02  # fraction of the cells
ROUNDS, PATIENCE = 150, 15
SEED = 0
TASK = "long_view"


@dataclass(frozen=True)
class QualityModel:
    """Result of a training.

    auc     of long views against other views on held-out days
    notes   days between the first and the last without outcomes
    """

    path: Path
    rows: int
    held_out: int
    trees: int
    first: str
    last: str
    auc: float
    notes: tuple[str, ...] = ()


def train_quality(
    settings: ScreeningSettings,
    file: Path,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> QualityModel:
    """Trains the model that ``[quality]`` names. Raises DataError, ConfigError, MissingExtra."""
    lightgbm_packages()
    learn = require_learn(settings, file)
    if settings.quality.model is None:
        raise ConfigError(f"{file}: quality.model is missing. Set it to the path of the model.")
    outcomes = read_outcomes(settings, learn)
    days = [outcome for outcome in outcomes if learn.last_day is None or outcome.day <= learn.last_day]
    if len(days) < 2:
        raise DataError(f"{len(days)} days with outcomes until {learn.last_day}, expected at least 2")
    path = settings.folder / settings.quality.model
    n_held_out = max(round(len(days) * HELD_OUT), 1)
    with open_database(extra="screen") as duckdb:
        blocked = read_block_lists(settings, days[0].uploads.column_types)
        load_block_lists(duckdb, blocked)

        def rows(part: list[Outcome]) -> LearningRows:
            return learning_rows(duckdb, settings, learn, part, blocked, MAX_ROWS)

        train, valid = rows(days[:-n_held_out]), rows(days[-n_held_out:])
    booster = _fit(train, valid, threads, progress)
    facts = {"trained_until": str(days[-1].day)}
    _write(booster, learn, path, valid.features[:1000], facts)
    score = np.asarray(booster.predict(valid.features, num_threads=threads))
    y, weights, row = _two_rows(valid)
    measured = auc(y, score[row], weights)
    n_trees = booster.current_iteration() if booster.best_iteration <= 0 else booster.best_iteration
    first, last = (str(days[index].day) for index in (0, -1))
    notes = tuple(missing_day_notes(days, settings.missing_days))
    return QualityModel(path, len(train.features), len(valid.features), n_trees, first, last, measured, notes)


def _two_rows(rows: LearningRows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Returns (label, weight, row): each item as a long view and as another view, with their counts."""
    fraction = rows.long_views / rows.exposures
    weight = np.minimum(rows.exposures, MAX_WEIGHT)
    label = np.repeat([1.0, 0.0], len(fraction))
    return (
        label,
        np.concatenate([weight * fraction, weight * (1.0 - fraction)]),
        np.tile(np.arange(len(fraction)), 2),
    )


def _fit(train: LearningRows, valid: LearningRows, threads: int, progress: Progress | None) -> Any:
    lightgbm, _ = lightgbm_packages()
    hidden = np.random.default_rng(SEED).random(train.features.shape, np.float32) < HIDDEN
    sets: list[Any] = []
    for rows, features in (
        (train, np.where(hidden, np.float32(np.nan), train.features)),
        (valid, valid.features),
    ):
        y, weights, row = _two_rows(rows)
        reference = sets[0] if sets else None
        sets.append(lightgbm.Dataset(features[row], y, weight=weights, reference=reference))
    settings = {
        "objective": "binary",
        "learning_rate": 0.15,
        "num_leaves": 31,
        "max_bin": 63,
        "min_data_in_leaf": 200,
        "min_sum_hessian_in_leaf": 100.0,
        "feature_fraction": 0.7,
        "lambda_l2": 100.0,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbose": -1,
    }

    def report(environment: Any) -> None:
        if progress is not None:
            progress(environment.iteration + 1, ROUNDS, "quality, trees")

    early_stopping = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(settings, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[early_stopping, report])


def _write(booster: Any, learn: Learn, path: Path, rows: NDArray[Any], facts: dict[str, str]) -> None:
    """Writes the trees with one input per column. Raises ExportError if ONNX Runtime differs."""
    proto = _by_columns(trees_to_onnx([booster], len(learn.features)), learn.features)
    with TemporaryDirectory(prefix="karec-screening-") as folder:
        aside = Path(folder) / "quality.onnx"
        write_onnx(proto, aside, kind=KIND, tasks=[TASK], model_version=1, more=facts)
        model = OnnxModel(aside)
        with_missing = rows.copy()
        with_missing[::3, ::2] = np.nan
        for part in (rows, with_missing):
            (quality,) = model.run({name: part[:, [i]] for i, name in enumerate(learn.features)}, OUTPUT)
            expected = booster.predict(part)
            difference = float(np.abs(quality[:, 0] - expected).max(initial=0.0))
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"{path}: ONNX Runtime's quality differs from LightGBM's by {difference:.2e} > "
                    f"{TOLERANCE}"
                )
    write_onnx(proto, path, kind=KIND, tasks=[TASK], model_version=1, more=facts)


def _by_columns(proto: onnx.ModelProto, columns: tuple[str, ...]) -> onnx.ModelProto:
    """Returns the model with one input (N, 1) per column and the output ``quality (N, 1)``, a probability."""
    helper, kind, graph = onnx.helper, onnx.TensorProto.FLOAT, proto.graph
    concat = helper.make_node("Concat", list(columns), ["dense"], axis=1)
    sigmoid = helper.make_node("Sigmoid", ["logits"], [OUTPUT])
    graph_by_columns = helper.make_graph(
        [concat, *graph.node, sigmoid],
        "screening",
        [helper.make_tensor_value_info(column, kind, ["rows", 1]) for column in columns],
        [helper.make_tensor_value_info(OUTPUT, kind, ["rows", 1])],
    )
    return helper.make_model(graph_by_columns, opset_imports=list(proto.opset_import), ir_version=8)
