"""Study of input times: models of the moment and of the last midnight, each served both ways.

Outcomes within a user's day are not independent of the inputs of the moment: if one of the user's two likes
of a day is already counted, one is left. A model that reads the counters of the moment therefore looks worse
by GAUC within a day than it is. In a world, the same outcomes are also drawn again from their true
probabilities, which removes this effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval, gauc, user_days
from karec.evaluate.quality import TOWERS, read_run, tower_logits
from karec.evaluate.tables import format_measure
from karec.features.encoder import Encoder
from karec.lab.report import Table
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples, feature_times
from karec.samples.replay import ranker_logits
from karec.times import Progress

HOURS = (24.0, 0.0)  # refresh_hours of the last midnight and of the moment
TITLES = {24.0: "midnight", 0.0: "moment"}
RANKER = "ranker"
TruthOf = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
Cell = tuple[float, float]  # hours of training and of serving
Draws = tuple[float, NDArray[Any]]  # value, and its resampled values (R,)


def measure_input_times(
    dataset: Dataset,
    settings: TrainSettings,
    out: Path,
    *,
    seeds: Sequence[int],
    truth_of: TruthOf | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains with inputs of the last midnight and of the moment, and measures both with both inputs.

    ``out``/seed-S-hours-H has the run of one training; finished runs are not trained again. ``truth_of``: see
    ``run_ablation``.

    Returns {"cells": {model: {measure: [cell]}}}. A cell has ``trained`` and ``served`` (hours), the mean
    over seeds and tasks with its 95 % interval over users, and the paired gain over training and serving of
    the last midnight.
    """
    is_test = dataset.exposures.time_ms >= dataset.valid_until_ms
    measures = _Measures(dataset, np.flatnonzero(is_test), settings.evaluation.resamples, truth_of)
    draws: dict[str, dict[str, dict[Cell, list[Draws]]]] = {}
    for seed in seeds:
        for trained in HOURS:
            run = out / f"seed-{seed}-hours-{trained:g}"
            chosen = settings.replace(
                seed=seed,
                features={"refresh_hours": trained},
                evaluation={"baselines": ()},
                run={"final_fit": False},
            )
            if not (run / "run.json").exists():
                train(dataset, chosen, run, progress, evaluate=False)
            for served in HOURS:
                for model, logits in _logits(dataset, is_test, run, served, progress).items():
                    for name, value in measures.of(logits).items():
                        cells = draws.setdefault(model, {}).setdefault(name, {})
                        cells.setdefault((trained, served), []).append(value)
    return {
        "data": dataset.name,
        "seeds": list(seeds),
        "impressions": int(is_test.sum()),
        "cells": {
            model: {name: _cells(cells) for name, cells in by_measure.items()}
            for model, by_measure in draws.items()
        },
    }


def input_times_tables(report: Mapping[str, Any]) -> list[Table]:
    """Returns a table for each model: a row for each way of training and serving."""
    tables = []
    for model, by_measure in report["cells"].items():
        rows = [
            (
                f"trained {TITLES[cells[0]['trained']]}, served {TITLES[cells[0]['served']]}",
                *(
                    f"{format_measure(cell['value'], None)}, "
                    + format_measure(cell["gain"], cell["gain_ci"], signed=True)
                    for cell in cells
                ),
            )
            for cells in zip(*by_measure.values(), strict=True)
        ]
        title = (
            f"{model}, {report['data']}: {report['impressions']:,} impressions, {len(report['seeds'])} "
            "seeds; value, and gain over the first row, paired"
        )
        tables.append(Table(title, ("inputs", *by_measure), rows))
    return tables


class _Measures:
    """Means over tasks of AUC, GAUC within a user's day and within a page, of rows of the dataset."""

    def __init__(
        self, dataset: Dataset, rows: NDArray[Any], resamples: int, truth_of: TruthOf | None
    ) -> None:
        test = dataset.exposures.take(rows)
        self._bootstrap = UserBootstrap(test.user_id, resamples)
        page = np.stack([test.user_id, test.time_ms, test.scene])
        self._groups = {
            "GAUC in a user's day": user_days(test.user_id, test.time_ms, dataset.valid_until_ms),
            "GAUC in a page": np.unique(page, axis=1, return_inverse=True)[1],
        }
        self._labels = [test.labels[task] for task in dataset.tasks]
        self._redrawn: list[NDArray[Any]] | None = None
        if truth_of is not None:
            snapshot = dataset.snapshot
            truth = truth_of(
                snapshot.users.lookup(test.user_id),
                snapshot.works.lookup(test.work_id),
                test.time_ms,
                test.scene,
            )
            draws = np.random.default_rng(0).random(truth.shape)
            self._redrawn = [*(draws < truth).astype(np.float64).T]

    def of(self, logits: NDArray[Any]) -> dict[str, Draws]:
        """Returns the measures of (rows, T) logits by name."""
        columns = [*logits.T]
        measured = {"AUC": self._mean(self._labels, columns)}
        for name, group in self._groups.items():
            measured[name] = self._mean(self._labels, columns, group)
        if self._redrawn is not None:
            measured["AUC, drawn again"] = self._mean(self._redrawn, columns)
            for name, group in self._groups.items():
                measured[f"{name}, drawn again"] = self._mean(self._redrawn, columns, group)
        return {name: value for name, value in measured.items() if np.isfinite(value[0])}

    def _mean(
        self, labels: list[NDArray[Any]], columns: list[NDArray[Any]], group: NDArray[Any] | None = None
    ) -> Draws:
        bootstrap, pairs = self._bootstrap, [*zip(labels, columns, strict=True)]
        if group is None:
            values = [auc(y, s) for y, s in pairs]
            resampled = [bootstrap.auc(y, s) for y, s in pairs]
        else:
            values = [gauc(y, s, group) for y, s in pairs]
            resampled = [bootstrap.gauc(y, s, group) for y, s in pairs]
        return float(np.mean(values)), np.mean(resampled, axis=0)


def _logits(
    dataset: Dataset, is_test: NDArray[Any], run: Path, hours: float, progress: Progress | None
) -> dict[str, NDArray[Any]]:
    """Returns {ranker, towers: (M, T) logits of the test rows} with inputs as of every ``hours``."""
    encoder = Encoder.load(run / "encoder.npz")
    times = feature_times(dataset, hours)
    test = build_examples(encoder, dataset.snapshot, dataset.exposures, times).take(is_test)
    facts = read_run(run)
    user, item = (OnnxModel(run / f"{side}_tower.onnx") for side in ("user", "item"))
    ranked = ranker_logits(test, OnnxModel(run / "ranker.onnx"), progress)[:, : len(dataset.tasks)]
    return {RANKER: ranked, TOWERS: tower_logits(test, user, item, facts["towers"])}


def _cells(cells: Mapping[Cell, Sequence[Draws]]) -> list[dict[str, Any]]:
    """Returns the cells of one measure, means over seeds."""
    means = {
        cell: (np.mean([value for value, _ in draws]), np.mean([resampled for _, resampled in draws], axis=0))
        for cell, draws in cells.items()
    }
    first_value, first_draws = means[HOURS[0], HOURS[0]]
    return [
        {
            "trained": trained,
            "served": served,
            "value": float(value),
            "ci": bootstrap_interval(resampled),
            "gain": float(value - first_value),
            "gain_ci": bootstrap_interval(resampled - first_draws),
            "by_seed": [seed_value for seed_value, _ in cells[trained, served]],
        }
        for (trained, served), (value, resampled) in means.items()
    ]
