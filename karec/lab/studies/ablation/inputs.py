"""Inputs that all models of an ablation share: encoded data, and the rows and pools to measure on."""

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
from karec.times import Progress

TruthOf = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]
MAX_LIBRARY = 100_000  # works


@dataclass(frozen=True, eq=False)
class AblationInputs:
    """Encoded data of an ablation, and P pools of N works.

    measured      examples of the measured days
    pool_rows     (P,) examples with the user and moment of a pool
    pool_works    (P, N) work rows
    library       (L,) work rows
    library_rows  (W,) examples for whose users ranker and towers score the library
    """

    dataset: Dataset
    prepared: TrainingData
    measured: Examples
    pool_rows: NDArray[Any]
    pool_works: NDArray[Any]
    library: NDArray[Any]
    library_rows: NDArray[Any]
    progress: Progress | None

    @cached_property
    def batches(self) -> Batches:
        """The measured examples as tensors, with the inputs of towers."""
        encoded = self.prepared.in_memory
        return Batches.from_examples(self.measured, encoded.names, self.progress, str(encoded.device))

    @cached_property
    def library_items(self) -> dict[str, NDArray[Any]]:
        """Item inputs of the library at the begin of the measured days."""
        return self.measured.items(np.zeros(len(self.library), np.int64), self.library)

    def library_pool(self, row: int, part: slice = slice(None)) -> dict[str, NDArray[Any]]:
        """Returns the ranker's inputs of a part of the library for the user of example ``row``."""
        user = self.measured.users(np.array([row]))
        items = {name: values[part] for name, values in self.library_items.items()}
        return {**user, **items, **self.prepared.encoder.encode_crosses(user, items)}

    def evaluation_set(
        self, settings: TrainSettings, start_ms: int, truth_of: TruthOf | None
    ) -> EvaluationSet:
        truth = None if truth_of is None else self._truth(settings, truth_of)
        tasks, resamples = self.dataset.tasks, settings.evaluation.resamples
        return EvaluationSet(self.measured.exposures, tasks, start_ms, truth, resamples, settings.seed)

    def _truth(self, settings: TrainSettings, truth_of: TruthOf) -> NDArray[Any]:
        """Returns (P, N): fused true probabilities of the pools' works."""
        shape = self.pool_works.shape
        examples = np.repeat(self.pool_rows, shape[1])
        exposures = self.measured.exposures
        probabilities = truth_of(
            self.measured.user_rows[examples],
            self.pool_works.ravel(),
            exposures.time_ms[examples],
            exposures.scene[examples],
        )
        weights = np.array([settings.fusion.get(task, 0.0) for task in self.dataset.tasks])
        return np.asarray((probabilities @ (weights / weights.sum())).reshape(shape))


def prepare_ablation(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    measured_days: Literal["validation", "test"],
    n_pools: int,
    pool_size: int,
    n_library_users: int,
    progress: Progress | None,
) -> AblationInputs:
    """Encodes the data, and draws users and works of the pools and of the library from the settings' seed.

    Raises DataError if fewer than ``pool_size`` works exist when the measured days begin.
    """
    prepared = prepare(dataset, settings, folder, progress)
    measured = prepared.test if measured_days == "test" else prepared.valid
    generator = np.random.default_rng(settings.seed)
    _, first_rows = np.unique(measured.exposures.user_id, return_index=True)
    pool_rows = np.sort(generator.permutation(first_rows)[:n_pools])
    existing = np.flatnonzero(dataset.snapshot.published_ms <= measured.exposures.time_ms[0])
    if len(existing) < pool_size:
        raise DataError(
            f"{dataset.name}: {len(existing)} works exist at the begin of {measured_days}, "
            f"expected at least {pool_size} for a pool"
        )
    pool_works = np.stack([generator.choice(existing, pool_size, replace=False) for _ in pool_rows])
    library = generator.permutation(existing)[:MAX_LIBRARY]
    library_rows = generator.permutation(pool_rows)[:n_library_users]
    return AblationInputs(dataset, prepared, measured, pool_rows, pool_works, library, library_rows, progress)
