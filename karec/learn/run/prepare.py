"""What every training of a run starts from: the encoder, and the training and validation days encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from karec._clock import Progress
from karec.features.encoder import Encoder
from karec.learn.nets.ranker import INPUTS
from karec.learn.run.batches import Batches
from karec.learn.run.cowatch import fit_cowatch
from karec.learn.settings.train import TrainSettings
from karec.platform.dataset import Dataset
from karec.training_data.examples import Examples, as_known, build_examples, check_no_leak
from karec.types import Array

EXAMPLE_ROWS = 64
PLAY_TIME = "play_time"
PLAY_UNIT_MS, LONGEST_PLAY = (
    10_000.0,
    60.0,
)  # play time is learned in units of 10 s, and none counts as more than 10 min


@dataclass(frozen=True, eq=False)
class Prepared:
    """Examples of the three parts, as the run's encoder sees them; training and validation days encoded once.

    Nothing that trains or chooses looks at ``test``.
    """

    encoder: Encoder
    train: Examples
    valid: Examples
    test: Examples
    train_batches: Batches
    valid_batches: Batches

    def example_batch(self, names: Sequence[str]) -> dict[str, Array]:
        """The first training rows: what an export is traced and checked with."""
        inputs = self.train.inputs(np.arange(min(EXAMPLE_ROWS, len(self.train))))
        return {name: inputs[name] for name in names}


def prepare(dataset: Dataset, settings: TrainSettings, folder: Path, progress: Progress | None = None) -> Prepared:
    """Fit the encoder on the training days, write it to ``folder``, and encode training and validation days.

    Raises ValueError naming the label when a task's is missing or of one class, or when an input knows the future.
    """
    encoder = Encoder.fit(
        dataset.snapshot,
        dataset.split()[0],
        dataset.tasks,
        history_length=settings.history_length,
        min_count=settings.min_count,
        user_min_count=settings.user_min_count,
        cowatch=fit_cowatch(dataset.snapshot, settings.seed),
    )
    encoder.save(folder / "encoder.npz")
    as_of = as_known(dataset, settings.refresh_hours)
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
    batches = [Batches(part, ("user_id", *INPUTS), progress, chosen_device(settings)) for part in (train, valid)]
    return Prepared(encoder, train, valid, test, *batches)


def chosen_device(settings: TrainSettings) -> str:
    """ "cuda" when the settings want it, or want what there is and there is one."""
    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def auxiliary_tasks(examples: Examples, wanted: Sequence[str]) -> tuple[str, ...]:
    """Of the ``wanted`` tasks beside the encoder's those that the examples can teach: a label of two classes."""
    labels, play_ms = examples.exposures.labels, examples.exposures.play_ms
    there = [
        name
        for name in wanted
        if name not in examples.encoder.tasks
        and (play_ms.max(initial=0) > 0 if name == PLAY_TIME else name in labels and 0 < labels[name].mean() < 1)
    ]
    return tuple(there)


def auxiliary_labels(examples: Examples, tasks: Sequence[str]) -> Array:
    """(M, tasks) float32: the labels, and play time in units of PLAY_UNIT_MS."""
    exposures = examples.exposures
    columns = [
        np.minimum(exposures.play_ms / PLAY_UNIT_MS, LONGEST_PLAY) if name == PLAY_TIME else exposures.labels[name]
        for name in tasks
    ]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((len(examples), 0), np.float32)
