"""What every training of a run begins with: the encoder, fitted, and the training and validation days, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from karec._clock import Progress
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
from karec.learn.fit.cowatch import fit_cowatch
from karec.learn.nets.ranker import INPUTS
from karec.learn.settings.sections import RunSettings
from karec.learn.settings.train import TrainSettings
from karec.platform.dataset import Dataset
from karec.training_data.examples import Examples, as_known, build_examples
from karec.training_data.leak_check import check_no_leak
from karec.types import Array

EXAMPLE_ROWS = 64


@dataclass(frozen=True, eq=False)
class Prepared:
    """The examples of the three parts, as the run's encoder sees them; training and validation days as tensors too.

    Nothing that trains or chooses looks at ``test``. ``timeless``, ``drawn``: as the dataset says.
    """

    encoder: Encoder
    train: Examples
    valid: Examples
    test: Examples
    train_batches: Batches
    valid_batches: Batches
    timeless: bool = False
    drawn: float | None = None

    def example_batch(self, names: Sequence[str]) -> dict[str, Array]:
        """The first training rows: an export is traced and checked with them."""
        inputs = self.train.inputs(np.arange(min(EXAMPLE_ROWS, len(self.train))))
        return {name: inputs[name] for name in names}


def prepare(dataset: Dataset, settings: TrainSettings, folder: Path, progress: Progress | None = None) -> Prepared:
    """Fit the encoder on the training days, write it to ``folder``, and encode training and validation days.

    Raises ValueError naming the label when a task's is missing or of one class, or when an input knows the future.
    """
    features = settings.features
    encoder = Encoder.fit(
        dataset.snapshot,
        dataset.split()[0],
        dataset.tasks,
        history_length=features.history_length,
        min_count=features.min_count,
        user_min_count=features.user_min_count,
        cowatch=fit_cowatch(dataset.snapshot, settings.seed),
    )
    encoder.save(folder / "encoder.npz")
    as_of = as_known(dataset, features.refresh_hours)
    check_no_leak(lambda some: build_examples(encoder, dataset.snapshot, some, as_of[: len(some)]), dataset.exposures)
    every = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    train = every.between(dataset.snapshot.time_ms, dataset.train_until_ms)
    valid = every.between(dataset.train_until_ms, dataset.valid_until_ms)
    test = every.take(dataset.exposures.time_ms >= dataset.valid_until_ms)
    del every  # its arrays are as large as the parts' together
    if not len(train) or not len(valid):
        raise ValueError(
            f"{dataset.name}: {len(train)} training and {len(valid)} validation exposures; both are needed"
        )
    batches = [Batches(part, ("user_id", *INPUTS), progress, chosen_device(settings.run)) for part in (train, valid)]
    return Prepared(encoder, train, valid, test, batches[0], batches[1], timeless=dataset.timeless, drawn=dataset.drawn)


def chosen_device(run: RunSettings) -> str:
    """ "cpu" or "cuda"; "auto" is CUDA where there is a device."""
    if run.device != "auto":
        return run.device
    return "cuda" if torch.cuda.is_available() else "cpu"
