"""Inputs that all models of an ablation share: the encoded data, and the rows and pools to measure on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import DataError
from karec.lab.studies.ablation.table import EvaluationSet
from karec.learn.fit.batches import Batches
from karec.learn.fit.prepare import TrainingData, prepare
from karec.learn.settings.settings import TrainSettings
from karec.samples.examples import Examples
from karec.samples.lists import item_numbers
from karec.times import Progress

TruthOf = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
LIBRARY = 100_000  # works of the library that whole orders are of, at most


@dataclass(frozen=True, eq=False)
class AblationInputs:
    """``measured`` are the examples of the measured days. P pools of N works: ``pool_rows (P,)`` the examples
    whose user and moment ask, ``pool_works (P, N)`` rows of works. ``library (L,)`` rows of works, which the
    users of ``pool_rows`` order as a whole, the ranker for the users of ``whole_rows (W,)`` alone."""

    dataset: Dataset
    prepared: TrainingData
    measured: Examples
    pool_rows: NDArray[Any]
    pool_works: NDArray[Any]
    library: NDArray[Any]
    whole_rows: NDArray[Any]
    progress: Progress | None

    @cached_property
    def batches(self) -> Batches:
        """The measured examples as tensors, with what towers read."""
        encoded = self.prepared.train_batches
        names = [name for name in encoded.names if name != "crosses"]
        return Batches(self.measured, names, self.progress, str(encoded.device))

    @cached_property
    def pool_numbers(self) -> NDArray[Any]:
        """(P, N, J) float32: item_numbers of the pools' works as of the pools' moments."""
        return item_numbers(self.measured, self.pool_rows, self.pool_works)

    @cached_property
    def library_items(self) -> dict[str, NDArray[Any]]:
        """The items' side of the library, as the measured days begin."""
        return self.measured.items(np.zeros(len(self.library), np.int64), self.library)

    def evaluation_set(
        self, settings: TrainSettings, start_ms: int, truth_of: TruthOf | None
    ) -> EvaluationSet:
        """What the models are measured on; ``truth_of`` as ``run_ablation`` takes it."""
        truth = None if truth_of is None else self._truth(settings, truth_of)
        users = self.measured.exposures.user_id[self.pool_rows]
        tasks, resamples = self.dataset.tasks, settings.evaluation.resamples
        return EvaluationSet(self.measured.exposures, tasks, start_ms, users, truth, resamples, settings.seed)

    def _truth(self, settings: TrainSettings, truth_of: TruthOf) -> NDArray[Any]:
        """(P, N): the fused true chances of the pools' works."""
        shape = self.pool_works.shape
        of = np.repeat(self.pool_rows, shape[1])
        exposures = self.measured.exposures
        chances = truth_of(
            self.measured.user_rows[of], self.pool_works.ravel(), exposures.time_ms[of], exposures.scene[of]
        )
        w = np.array([settings.fusion.get(task, 0.0) for task in self.dataset.tasks])
        return np.asarray((chances @ (w / w.sum())).reshape(shape))


def prepare_ablation(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    on: Literal["validation", "test"],
    n_pools: int,
    pool_size: int,
    whole: int,
    progress: Progress | None,
) -> AblationInputs:
    """Encode the data, and draw from the settings' seed users and works of the pools, then those of whole
    orders.

    Raises DataError where fewer than ``pool_size`` works are there when the measured days begin.
    """
    prepared = prepare(dataset, settings, folder, progress)
    measured = prepared.test if on == "test" else prepared.valid
    generator = np.random.default_rng(settings.seed)
    _, first = np.unique(measured.exposures.user_id, return_index=True)
    pool_rows = np.sort(generator.permutation(first)[:n_pools])
    there = np.flatnonzero(dataset.snapshot.published_ms <= measured.exposures.time_ms[0])
    if len(there) < pool_size:
        raise DataError(
            f"{dataset.name}: {len(there)} works are there when {on} begins, pools need {pool_size}"
        )
    pool_works = np.stack([generator.choice(there, pool_size, replace=False) for _ in pool_rows])
    library = generator.permutation(there)[:LIBRARY]
    whole_rows = generator.permutation(pool_rows)[:whole]
    return AblationInputs(dataset, prepared, measured, pool_rows, pool_works, library, whole_rows, progress)
