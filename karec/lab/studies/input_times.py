"""Study of input times: models of the moment and of the last midnight, each served both ways.

GAUC within a user's day favours inputs of the last midnight. If one of the user's two likes of a day is
already counted, only one is left; and it compares items of different moments, which never are on one page. A
world has two measures without these effects: GAUC of outcomes that are drawn again from their true
probabilities, and NDCG of pools at one moment by the true probabilities.
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
from karec.lab.studies.true_gains import ndcg_of_gains
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples, feature_times
from karec.samples.replay import pool_logits, ranker_logits
from karec.times import Progress

HOURS = (24.0, 0.0)  # refresh_hours of the last midnight and of the moment
TITLES = {24.0: "midnight", 0.0: "moment"}
RANKER = "ranker"
AGAIN, POOLS = "GAUC in a user's day, drawn again", "NDCG@20 of pools"
N_POOLS, POOL_WORKS, AT = 300, 200, 20
TruthOf = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
Cell = tuple[float, float]  # hours of serving and of training
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
    over seeds and tasks with its 95 % interval over users, and the paired gain over a training with inputs of
    the last midnight that is served in the same way.
    """
    is_test = dataset.exposures.time_ms >= dataset.valid_until_ms
    measures = _Measures(dataset, is_test, settings.evaluation.resamples, truth_of)
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
                for model, measured in measures.of_run(run, served, progress).items():
                    for name, value in measured.items():
                        cells = draws.setdefault(model, {}).setdefault(name, {})
                        cells.setdefault((served, trained), []).append(value)
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
    """Returns a table for each model: a row for each way of serving and training."""
    tables = []
    for model, by_measure in report["cells"].items():
        rows = [
            (
                f"served {TITLES[cells[0]['served']]}, trained {TITLES[cells[0]['trained']]}",
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
            "seeds; value, and gain over trained midnight, paired"
        )
        tables.append(Table(title, ("inputs", *by_measure), rows))
    return tables


class _Measures:
    """Measures of the test rows: means over tasks of AUC and GAUC, and in a world those of its truth."""

    def __init__(
        self, dataset: Dataset, is_test: NDArray[Any], resamples: int, truth_of: TruthOf | None
    ) -> None:
        test = dataset.exposures.take(is_test)
        self._dataset, self._is_test, self._truth_of = dataset, is_test, truth_of
        self._bootstrap = UserBootstrap(test.user_id, resamples)
        self._days = user_days(test.user_id, test.time_ms, dataset.valid_until_ms)
        self._labels = [test.labels[task] for task in dataset.tasks]
        if truth_of is None:
            return
        snapshot, generator = dataset.snapshot, np.random.default_rng(0)
        users, works = snapshot.users.lookup(test.user_id), snapshot.works.lookup(test.work_id)
        truth = truth_of(users, works, test.time_ms, test.scene)
        self._again = [*(generator.random(truth.shape) < truth).astype(np.float64).T]
        first = np.unique(test.user_id, return_index=True)[1]
        self._pool_rows = np.sort(generator.permutation(first)[:N_POOLS])
        published = np.flatnonzero(snapshot.published_ms < dataset.valid_until_ms)
        self._pools = np.stack(
            [generator.choice(published, POOL_WORKS, replace=False) for _ in self._pool_rows]
        )
        rows = np.repeat(self._pool_rows, POOL_WORKS)
        truth = truth_of(users[rows], self._pools.ravel(), test.time_ms[rows], test.scene[rows])
        weights = np.array([dataset.objectives[task] for task in dataset.tasks])
        self._gains = (truth @ weights).reshape(self._pools.shape)
        self._pool_users = UserBootstrap(test.user_id[self._pool_rows], resamples)

    def of_run(self, run: Path, hours: float, progress: Progress | None) -> dict[str, dict[str, Draws]]:
        """Returns {ranker, towers: {measure: value}} of a run with inputs as of every ``hours``."""
        dataset, facts = self._dataset, read_run(run)
        encoder = Encoder.load(run / "encoder.npz")
        times = feature_times(dataset, hours)
        test = build_examples(encoder, dataset.snapshot, dataset.exposures, times).take(self._is_test)
        ranker = OnnxModel(run / "ranker.onnx")
        towers = [OnnxModel(run / f"{side}_tower.onnx") for side in ("user", "item")]
        logits = {
            RANKER: ranker_logits(test, ranker, progress)[:, : len(dataset.tasks)],
            TOWERS: tower_logits(test, towers[0], towers[1], facts["towers"]),
        }
        measured = {model: self._of_logits(values) for model, values in logits.items()}
        if self._truth_of is not None:
            fusion = ObjectiveWeights(facts["settings"]["fusion"])
            scores: dict[str, list[NDArray[Any]]] = {RANKER: [], TOWERS: []}
            for row, works in zip(self._pool_rows.tolist(), self._pools, strict=True):
                scores[RANKER].append(fusion(pool_logits(test, row, works, ranker), ranker.tasks))
                (user,) = towers[0].run(test.users(np.array([row])), "user_vector")
                (items,) = towers[1].run(test.items(np.full(len(works), row), works), "item_vector")
                scores[TOWERS].append(items @ user[0])
            for model, values in scores.items():
                ndcg = ndcg_of_gains(np.stack(values), self._gains, AT)
                measured[model][POOLS] = float(ndcg.mean()), self._pool_users.mean(ndcg)
        return measured

    def _of_logits(self, logits: NDArray[Any]) -> dict[str, Draws]:
        columns = [*logits.T]
        measured = {
            "AUC": self._mean(self._labels, columns),
            "GAUC in a user's day": self._mean(self._labels, columns, self._days),
        }
        if self._truth_of is not None:
            measured[AGAIN] = self._mean(self._again, columns, self._days)
        return measured

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


def _cells(cells: Mapping[Cell, Sequence[Draws]]) -> list[dict[str, Any]]:
    """Returns the cells of one measure, means over seeds."""
    means = {
        cell: (np.mean([value for value, _ in draws]), np.mean([resampled for _, resampled in draws], axis=0))
        for cell, draws in cells.items()
    }
    result = []
    for served in HOURS:
        first_value, first_draws = means[served, HOURS[0]]
        for trained in HOURS:
            value, resampled = means[served, trained]
            result.append(
                {
                    "served": served,
                    "trained": trained,
                    "value": float(value),
                    "ci": bootstrap_interval(resampled),
                    "gain": float(value - first_value),
                    "gain_ci": bootstrap_interval(resampled - first_draws),
                    "by_seed": [seed_value for seed_value, _ in cells[served, trained]],
                }
            )
    return result
