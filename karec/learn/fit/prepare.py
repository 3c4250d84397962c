"""What every training of a run begins with: the encoder, fitted, and the training and validation days,
encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
from karec.learn.fit.cowatch import fit_cowatch
from karec.learn.nets.matching import MATCHED
from karec.learn.nets.ranker import INPUTS
from karec.learn.settings.sections import RunSettings
from karec.learn.settings.train import TrainSettings
from karec.samples.examples import Examples, as_known, build_examples
from karec.samples.leak_check import check_no_leak
from karec.samples.served_log import ServedLog, joined
from karec.times import Progress

EXAMPLE_ROWS = 64


@dataclass(frozen=True, eq=False)
class Prepared:
    """The examples of the three parts, as the run's encoder sees them; training and validation days as
    tensors too.

    Nothing that trains or chooses looks at ``test``. The last ``requests`` rows of ``train`` are requests of
    a served log, which lists look up: no outcome belongs to them, and nothing else may learn from them.
    ``timeless``, ``drawn``: as the dataset says.
    """

    encoder: Encoder
    train: Examples
    valid: Examples
    test: Examples
    train_batches: Batches
    valid_batches: Batches
    requests: int = 0
    timeless: bool = False
    drawn: float | None = None

    @property
    def shown(self) -> int:
        """The training rows that were shown to users: the first so many."""
        return len(self.train) - self.requests

    def notes(self, min_count: int) -> tuple[str, ...]:
        """What whoever reads the results must know: that most works shown have no embedding of their own."""
        without, shown = works_without_id(self.train)
        if 2 * without <= shown:
            return ()
        return (
            f"{without:,} of the {shown:,} works shown on the training days have no embedding of their own: "
            f"fewer than features.min_count = {min_count} training rows show each, and other columns alone "
            "tell them apart",
        )

    def example_batch(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The first training rows: an export is traced and checked with them."""
        inputs = self.train.inputs(np.arange(min(EXAMPLE_ROWS, len(self.train))))
        return {name: inputs[name] for name in names}


def works_without_id(train: Examples) -> tuple[int, int]:
    """(works that training rows show and that have no embedding of their own, works that they show)."""
    rows = np.unique(train.work_rows[train.work_rows >= 0])
    codes = train.encoder.tables(train.snapshot).works.ids[rows, 0]
    return int((codes >= train.encoder.sizes["item_ids"][0]).sum()), len(rows)


def prepare(
    dataset: Dataset, settings: TrainSettings, folder: Path, progress: Progress | None = None
) -> Prepared:
    """Fit the encoder on the training days, write it to ``folder``, and encode training and validation days.

    Raises ValueError naming the label when a task's is missing or of one class, or when an input knows the
    future.
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
    check_no_leak(
        lambda some: build_examples(encoder, dataset.snapshot, some, as_of[: len(some)]), dataset.exposures
    )
    return prepared_with(encoder, dataset, settings, progress)


def prepared_with(
    encoder: Encoder, dataset: Dataset, settings: TrainSettings, progress: Progress | None = None
) -> Prepared:
    """The training and validation days of ``dataset``, encoded by an ``encoder`` that was fitted on it."""
    as_of = as_known(dataset, settings.features.refresh_hours)
    every = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    train = every.between(dataset.snapshot.time_ms, dataset.train_until_ms)
    valid = every.between(dataset.train_until_ms, dataset.valid_until_ms)
    test = every.take(dataset.exposures.time_ms >= dataset.valid_until_ms)
    del every  # its arrays are as large as the parts' together
    return _prepared(dataset, encoder, train, valid, test, settings, progress)


def prepare_served(
    dataset: Dataset,
    encoder: Encoder,
    settings: TrainSettings,
    served: ServedLog,
    answers: Impressions | None = None,
    progress: Progress | None = None,
    first: Prepared | None = None,
) -> Prepared:
    """What ``prepare`` gives, with the ``encoder`` of the run that served, and more training rows:
    ``answers``, the exposures of served feeds that the dataset lacks, and the requests of ``served`` that
    have lists.

    Answers and requests know what the dataset's exposures say of the time before them. ``first``: what
    ``prepare`` gave for the run that served, whose rows are not encoded again. Raises ValueError as
    ``build_examples``.
    """
    snapshot, past, train = dataset.snapshot, dataset.exposures, dataset.split()[0]
    as_of = as_known(dataset, settings.features.refresh_hours)
    requests = served.requests(snapshot, settings.distil.list_works)
    parts = [train, *([] if answers is None else [answers]), requests]
    rows = joined(parts, dataset.tasks)
    known = as_known(replace(dataset, exposures=rows), settings.features.refresh_hours)
    if first is not None:
        taught = build_examples(first.encoder, snapshot, rows, known, happened=past)
        batches = first.train_batches.followed_by(taught.take(np.arange(len(train), len(taught))), progress)
        return replace(first, train=taught, train_batches=batches, requests=len(requests))
    every = build_examples(encoder, snapshot, past, as_of)
    valid = every.between(dataset.train_until_ms, dataset.valid_until_ms)
    test = every.take(past.time_ms >= dataset.valid_until_ms)
    del every
    taught = build_examples(encoder, snapshot, rows, known, happened=past)
    return _prepared(dataset, encoder, taught, valid, test, settings, progress, len(requests))


def _prepared(
    dataset: Dataset,
    encoder: Encoder,
    train: Examples,
    valid: Examples,
    test: Examples,
    settings: TrainSettings,
    progress: Progress | None,
    requests: int = 0,
) -> Prepared:
    if len(train) == requests or not len(valid):
        raise ValueError(
            f"{dataset.name}: {len(train) - requests} training and {len(valid)} validation exposures; both "
            f"are needed"
        )
    names = tuple(dict.fromkeys(("user_id", *INPUTS, *MATCHED)))
    to_train, to_validate = (
        Batches(part, names, progress, chosen_device(settings.run)) for part in (train, valid)
    )
    return Prepared(
        encoder,
        train,
        valid,
        test,
        to_train,
        to_validate,
        requests,
        timeless=dataset.timeless,
        drawn=dataset.drawn,
    )


def chosen_device(run: RunSettings) -> str:
    """ "cpu" or "cuda"; "auto" is CUDA where there is a device."""
    if run.device != "auto":
        return run.device
    return "cuda" if torch.cuda.is_available() else "cpu"
