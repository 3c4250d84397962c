"""Runs the ablation: every row is trained for every seed, and measured on the same rows and pools.

One folder has all results (``karec.lab.studies.ablation.models``). A killed run continues when it is called
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError, DataError
from karec.files import write_text_aside
from karec.lab.studies.ablation.inputs import TruthOf, prepare_ablation
from karec.lab.studies.ablation.models import AblationModels
from karec.lab.studies.ablation.table import (
    ROWS,
    EvaluationSet,
    Measure,
    Row,
    ablation_table,
    mean_over_seeds,
    measure,
)
from karec.learn._torch import torch_threads
from karec.learn.run.lightgbm import lightgbm_packages
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress


def run_ablation(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    on: Literal["validation", "test"] = "test",
    only: Sequence[str] = (),
    n_pools: int = 500,
    pool_size: int = 500,
    whole: int = 40,
    truth_of: TruthOf | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains the models that ``folder`` lacks, measures all, and returns the report.

    Args:
        only: names of rows, default all; the teacher is always trained.
        whole: users for whom ranker and towers also score the library, or MAX_LIBRARY works of it.
        truth_of: ``truth_of(user rows, work rows, time_ms, scene)`` returns the probability of each task
            (N, T); None: unknown.

    Raises:
        DataError: the folder has an ablation of other data or settings.
        ConfigError: fusion has weights for tasks that towers or rankers do not predict.
    """
    rows = _chosen_rows(only)
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ValueError(f"seeds are {list(seeds)}, expected different ones, at least one")
    if whole < 0:
        raise ValueError(f"whole is {whole}, expected a number of users ≥ 0")
    if settings.ranker.kind == "auto":  # rows are compared with one teacher on data of every size
        settings = settings.replace(ranker={"kind": "mmoe"})
    settings = settings.resolve(dataset)
    check_training(dataset, settings)
    if any(row.name == "lightgbm" for row in rows):
        lightgbm_packages()
    unknown_tasks = sorted(set(settings.fusion) - set(dataset.tasks))
    if unknown_tasks:
        raise ConfigError(
            f"fusion has weights for {unknown_tasks}, but the models of an ablation predict only "
            f"{list(dataset.tasks)}"
        )
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    sizes = f"{n_pools} pools of {pool_size}, {whole} whole"
    _check_folder(folder, f"{fingerprint(dataset, settings)}, measured on {on}, {sizes}")
    with torch_threads(settings.run.threads):
        inputs = prepare_ablation(dataset, settings, folder, on, n_pools, pool_size, whole, progress)
        start_ms = dataset.valid_until_ms if on == "test" else dataset.train_until_ms
        evaluation = inputs.evaluation_set(settings, start_ms, truth_of)
        models = AblationModels(inputs, settings, folder)
        measures, costs = _measure_all(models, rows, seeds, evaluation, progress)
    return {
        "data": dataset.name,
        "measured_on": on,
        "exposures": len(inputs.measured),
        "pools": {"pools": len(inputs.pool_rows), "works": int(inputs.pool_works.shape[1])},
        "library": {"users": len(inputs.library_rows), "works": len(inputs.library)},
        "seeds": list(seeds),
        "tasks": list(dataset.tasks),
        "settings": settings.to_dict(),
        "rows": ablation_table(rows, measures, costs),
    }


def _chosen_rows(only: Sequence[str]) -> list[Row]:
    unknown = sorted(set(only) - {row.name for row in ROWS})
    if unknown:
        raise ValueError(f"unknown rows {unknown}, expected some of {[row.name for row in ROWS]}")
    return [row for row in ROWS if not only or row.name in only]


def _check_folder(folder: Path, facts: str) -> None:
    """Raises DataError if the folder has another ablation (file ablation.of), to keep their models apart."""
    facts_file = folder / "ablation.of"
    if not facts_file.exists():
        write_text_aside(facts_file, facts)
    elif facts_file.read_text(encoding="utf-8") != facts:
        raise DataError(
            f"{folder} has an ablation of {facts_file.read_text(encoding='utf-8')}, expected {facts}. Name "
            f"another "
            "folder."
        )


def _measure_all(
    models: AblationModels,
    rows: Sequence[Row],
    seeds: Sequence[int],
    evaluation: EvaluationSet,
    progress: Progress | None,
) -> tuple[dict[str, dict[str, Measure]], dict[str, dict[str, float]]]:
    """Returns (measures by row, means over seeds; mean seconds and peak GiB by row)."""
    teachers = {}
    for done, seed in enumerate(seeds, 1):
        teachers[seed] = models.scores("teacher", seed)
        _report(progress, done, len(seeds), "rankers")
    measures: dict[str, list[dict[str, Measure]]] = {row.name: [] for row in rows}
    costs: dict[str, list[tuple[float, float]]] = {row.name: [] for row in rows}
    for done, (seed, row) in enumerate([(seed, row) for seed in seeds for row in rows], 1):
        if row.name == "teacher-again":
            scores = models.scores("teacher", _next_seed(seeds, seed))
        else:
            scores = models.scores(row.name, seed)
        measures[row.name].append(measure(scores, teachers[seed], evaluation))
        costs[row.name].append((scores.seconds, scores.peak_gib))
        _report(progress, done, len(seeds) * len(rows), "cells")
    means = {name: mean_over_seeds(measures_of_seeds) for name, measures_of_seeds in measures.items()}
    cost = {
        name: dict(zip(("seconds", "peak_gib"), np.mean(values, axis=0).tolist(), strict=True))
        for name, values in costs.items()
    }
    return means, cost


def _next_seed(seeds: Sequence[int], seed: int) -> int:
    """Returns the seed whose ranker is the re-seeded ranker of ``seed``."""
    return seeds[(seeds.index(seed) + 1) % len(seeds)] if len(seeds) > 1 else seed + 1


def _report(progress: Progress | None, done: int, total: int, message: str) -> None:
    if progress is not None:
        progress(done, total, message)
