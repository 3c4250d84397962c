"""The quality model of screening: boosted trees that tell, from what is known of a work at its upload, the
share of long views that it will have.

Learned from works that had a fair exposure: a row is a work, weighed by its exposures, MOST_WEIGHT at most,
so that the works that were shown most do not decide alone. HIDDEN of the cells are hidden from training, so
that the trees learn what to make of one that is missing. The last days are held out and say when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.errors import ConfigError, DataError
from karec.evaluate.metrics.accuracy import auc
from karec.learn.export.onnx_export import TOLERANCE, ExportError, write_onnx
from karec.learn.run.lightgbm import lightgbm_packages, trees_to_onnx
from karec.models.onnx_model import OnnxModel
from karec.screening.database import database
from karec.screening.outcomes import LearningRows, Outcome, holes, learn_of, learning_rows, read_outcomes
from karec.screening.quality import KIND, OUTPUT
from karec.screening.rules import load_blocked, read_blocked
from karec.screening.settings import Learn, Settings
from karec.times import Progress

MOST_ROWS = 500_000
MOST_WEIGHT = 200.0  # exposures
HELD_OUT = 0.25  # of the days
HIDDEN = 0.02  # of the cells
ROUNDS, PATIENCE = 150, 15
TASK = "long_view"


@dataclass(frozen=True)
class QualityModel:
    """Where it is, what it learned from, and ``auc``: of long views of held-out days against views that were
    not. ``notes``: days between the first and the last that it did not learn from.
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
    settings: Settings, file: Path, *, threads: int = 1, seed: int = 0, progress: Progress | None = None
) -> QualityModel:
    """Write the model that ``[quality]`` names; ``file`` is the screen.toml. DataError, ConfigError,
    MissingExtra."""
    lightgbm_packages()
    learn = learn_of(settings, file)
    if settings.quality.model is None:
        raise ConfigError(f"{file}: quality.model says where the model goes; it is missing")
    days = [each for each in read_outcomes(settings, learn) if learn.until is None or each.day <= learn.until]
    if len(days) < 2:
        raise DataError(
            f"{len(days)} days with outcomes until {learn.until}: two or more are wanted to learn from"
        )
    path = settings.folder / settings.quality.model
    held = max(round(len(days) * HELD_OUT), 1)
    with TemporaryDirectory(prefix="karec-screening-") as folder, database(Path(folder)) as duckdb:
        blocked = read_blocked(settings, days[0].uploads.kinds)
        load_blocked(duckdb, blocked)

        def rows(part: list[Outcome]) -> LearningRows:
            return learning_rows(duckdb, settings, learn, part, blocked, MOST_ROWS)

        train, valid = rows(days[:-held]), rows(days[-held:])
    booster = _fit(train, valid, threads, seed, progress)
    facts = {"trained_until": str(days[-1].day)}
    _write(booster, learn, path, valid.features[:1000], facts)
    score = np.asarray(booster.predict(valid.features, num_threads=threads))
    y, weights, row = _two_rows(valid)
    measured = auc(y, score[row], weights)
    n_trees = booster.current_iteration() if booster.best_iteration <= 0 else booster.best_iteration
    first, last = (str(days[at].day) for at in (0, -1))
    notes = tuple(holes(days, settings.missing_days))
    return QualityModel(path, len(train.features), len(valid.features), n_trees, first, last, measured, notes)


def _two_rows(rows: LearningRows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(label, weight, row): each work once as seen long and once as not, weighed by how often it was."""
    share = rows.long_views / rows.exposures
    weight = np.minimum(rows.exposures, MOST_WEIGHT)
    label = np.repeat([1.0, 0.0], len(share))
    return label, np.concatenate([weight * share, weight * (1.0 - share)]), np.tile(np.arange(len(share)), 2)


def _fit(train: LearningRows, valid: LearningRows, threads: int, seed: int, progress: Progress | None) -> Any:
    lightgbm, _ = lightgbm_packages()
    hidden = np.random.default_rng(seed).random(train.features.shape, np.float32) < HIDDEN
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
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbose": -1,
    }

    def told(environment: Any) -> None:
        if progress is not None:
            progress(environment.iteration + 1, ROUNDS, "quality, trees")

    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(settings, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[stop, told])


def _write(booster: Any, learn: Learn, path: Path, rows: NDArray[Any], facts: dict[str, str]) -> None:
    """The trees behind one input a column; ExportError: ONNX Runtime computes something else."""
    proto = _by_columns(trees_to_onnx([booster], len(learn.features)), learn.features)
    with TemporaryDirectory(prefix="karec-screening-") as folder:
        aside = Path(folder) / "quality.onnx"
        write_onnx(proto, aside, kind=KIND, tasks=[TASK], model_version=1, more=facts)
        model = OnnxModel(aside)
        holes = rows.copy()
        holes[::3, ::2] = np.nan
        for part in (rows, holes):
            (found,) = model.run({name: part[:, [at]] for at, name in enumerate(learn.features)}, OUTPUT)
            wanted = booster.predict(part)
            gap = float(np.abs(found[:, 0] - wanted).max(initial=0.0))
            if not gap <= TOLERANCE:
                raise ExportError(
                    f"{path}: ONNX Runtime's quality differs from LightGBM's by {gap:.2e} > {TOLERANCE}"
                )
    write_onnx(proto, path, kind=KIND, tasks=[TASK], model_version=1, more=facts)


def _by_columns(proto: onnx.ModelProto, columns: tuple[str, ...]) -> onnx.ModelProto:
    """``dense (N, F)`` → ``logits (N, 1)`` becomes: each of ``columns (N, 1)`` → ``quality (N, 1)``, a
    probability."""
    helper, kind, graph = onnx.helper, onnx.TensorProto.FLOAT, proto.graph
    joined = helper.make_node("Concat", list(columns), ["dense"], axis=1)
    squashed = helper.make_node("Sigmoid", ["logits"], [OUTPUT])
    whole = helper.make_graph(
        [joined, *graph.node, squashed],
        "screening",
        [helper.make_tensor_value_info(column, kind, ["rows", 1]) for column in columns],
        [helper.make_tensor_value_info(OUTPUT, kind, ["rows", 1])],
    )
    return helper.make_model(whole, opset_imports=list(proto.opset_import), ir_version=8)
