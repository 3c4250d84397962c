"""Fits the encoder and encodes the training and validation days once, for all trainings of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.features.encoder import Encoder
from karec.learn._torch import Tensor, torch
from karec.learn.distributed.ranks import is_connected
from karec.learn.fit.batches import Batches
from karec.learn.fit.cowatch import fit_cowatch
from karec.learn.fit.item_types import examples_of_types, fit_item_types
from karec.learn.fit.row_stream import RowStream, write_and_stream
from karec.learn.fit.warm_start import WarmStart
from karec.learn.nets.matching import MATCHED
from karec.learn.nets.ranker import INPUTS
from karec.learn.settings.check import fingerprint
from karec.learn.settings.settings import RunSettings, TrainSettings
from karec.samples.examples import Examples, build_examples, feature_times
from karec.samples.leak_check import check_no_leak
from karec.samples.served_log import ServedLog, concat_impressions
from karec.times import Progress

EXAMPLE_ROWS = 64


@dataclass(frozen=True, eq=False)
class FitChoice:
    """Values that the validation days chose for one model.

    epochs        number of epochs
    scale, bias   (H,) calibration of the heads
    trees         number of trees by task
    """

    epochs: int = 0
    scale: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    trees: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Examples of the training, validation and test days; the first two also as tensors.

    No training and no choice of settings reads ``test``. The last ``n_requests`` rows of ``train`` are
    requests of a served log. They have no outcome; only lists may use them. ``since_ms``: time of the first
    training row. ``timeless``, ``drawn``: see Dataset.

    In ``train_batches``, training rows of other item types follow those of ``train``. Only the MMoE learns
    from them.

    ``choices`` by model: a training adds its choice. A final fit (``is_final``) reads those of the tested
    models; its ``valid`` is not held out.
    """

    encoder: Encoder
    train: Examples
    valid: Examples
    test: Examples
    train_batches: Batches | RowStream
    valid_batches: Batches
    n_requests: int = 0
    since_ms: int = 0
    timeless: bool = False
    drawn: float | None = None
    choices: dict[str, FitChoice] = field(default_factory=dict)
    is_final: bool = False

    def final_choice(self, name: str) -> FitChoice | None:
        """Returns the choice for a model in a final fit; None if this training chooses."""
        return self.choices[name] if self.is_final else None

    @property
    def in_memory(self) -> Batches:
        """``train_batches`` of a training with ``run.rows = "memory"``, which needs rows in any order."""
        assert isinstance(self.train_batches, Batches)
        return self.train_batches

    @property
    def n_shown(self) -> int:
        """Number of training rows that were shown to users; these are the first rows."""
        return len(self.train) - self.n_requests

    def sampling_log_probabilities(self) -> Tensor | None:
        """Returns (M, 1) float32: log(q · items) of each training row's item, 0 for other item types; None
        without sampled negatives.

        A row is a positive, or a negative sampled with probability q of its item, which depends on the item's
        positives (see Dataset.drawn). A logistic loss then learns log p(item | user) − log q + a constant.
        With log q subtracted from the logit before the loss, the logit is log p(item | user) + a constant,
        which ranks items as a page needs.
        Source  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019.
        """
        if self.drawn is None:
            return None
        train = self.train
        n_positives = np.bincount(
            train.item_rows[train.labels[:, 0] > 0], minlength=len(train.snapshot.works)
        )
        probability = (n_positives + 1.0) ** self.drawn
        log_probability = np.log(probability / probability.mean())
        rows = np.zeros((max(len(self.train_batches), len(train)), 1), np.float32)
        rows[: len(train), 0] = log_probability[train.item_rows]
        return torch.from_numpy(rows).to(self.train_batches.device)

    def notes(self, min_count: int) -> tuple[str, ...]:
        """Returns a warning if more than half of the items shown have no embedding of their own."""
        n_without, n_items = count_items_without_id(self.train)
        if 2 * n_without <= n_items:
            return ()
        return (
            f"{n_without:,} of the {n_items:,} items shown on the training days have no embedding of their "
            f"own: fewer than features.min_count = {min_count} training rows show each of them, so only "
            "other columns distinguish them",
        )

    def example_batch(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Returns the first training rows, with which an export is traced and checked."""
        inputs = self.train.inputs(np.arange(min(EXAMPLE_ROWS, len(self.train))))
        return {name: inputs[name] for name in names}


def count_items_without_id(train: Examples) -> tuple[int, int]:
    """Returns the number of items in training rows without an own embedding, and of all."""
    rows = np.unique(train.item_rows[train.item_rows >= 0])
    codes = train.encoder.tables(train.snapshot).works.ids[rows, 0]
    return int((codes >= train.encoder.sizes["item_ids"][0]).sum()), len(rows)


def prepare(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    start: WarmStart | None = None,
) -> TrainingData:
    """Fits the encoder on the training days, writes it to ``folder`` and encodes the days.

    ``start``: training rows are those of its last days only.

    Raises ValueError with the label's name if a task's label is missing or of one class, or if an input
    depends on the future.
    """
    encoder = _fit_encoder(dataset, settings, folder, start)
    times = feature_times(dataset, settings.features.refresh_hours)
    check_no_leak(
        lambda part: build_examples(encoder, dataset.snapshot, part, times[: len(part)]),
        dataset.exposures,
    )
    since_ms = _first_ms(dataset, start)
    train, valid, test = _split_examples(encoder, dataset, settings, since_ms)
    return _to_training_data(
        dataset, encoder, train, valid, test, settings, progress, folder=folder, since_ms=since_ms
    )


def prepare_whole_log(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    choices: Mapping[str, FitChoice],
    progress: Progress | None = None,
    start: WarmStart | None = None,
) -> TrainingData:
    """Fits the encoder on all rows, writes it to ``folder`` and encodes them as training rows.

    ``dataset``: all its rows are training rows; with ``start``, those of its last days. ``choices``: of the
    tested models. Validation has one request of each user after the newest event, which gives the users' last
    lists; there are no test rows.
    """
    encoder = _fit_encoder(dataset, settings, folder, start)
    rows, snapshot, since_ms = dataset.exposures, dataset.snapshot, _first_ms(dataset, start)
    train = _examples_since(encoder, dataset, settings, since_ms)
    newest_first = np.arange(len(rows))[::-1]
    last = newest_first[np.unique(rows.user_id[::-1], return_index=True)[1]]
    requests = replace(rows.take(last), time_ms=np.full(len(last), dataset.end_ms))
    valid = build_examples(encoder, snapshot, requests, happened=rows)
    no_rows = train.take(np.arange(0))
    prepared = _to_training_data(
        dataset, encoder, train, valid, no_rows, settings, progress, folder=folder, since_ms=since_ms
    )
    return replace(prepared, choices=dict(choices), is_final=True)


def _first_ms(dataset: Dataset, start: WarmStart | None) -> int:
    """Returns the time of the first training row."""
    begin_ms = dataset.snapshot.time_ms
    return begin_ms if start is None else max(begin_ms, start.first_ms(dataset.train_until_ms))


def _fit_encoder(dataset: Dataset, settings: TrainSettings, folder: Path, start: WarmStart | None) -> Encoder:
    """Fits the encoder on the training rows and writes it to ``folder``."""
    features = settings.features
    learns_types = settings.ranker.kind == "mmoe" and settings.run.rows == "memory"
    encoder = Encoder.fit(
        dataset.snapshot,
        dataset.split()[0],
        dataset.tasks,
        history_length=features.history_length,
        min_count=features.min_count,
        user_min_count=features.user_min_count,
        cowatch=fit_cowatch(dataset, settings.seed),
        item_types=fit_item_types(dataset) if learns_types else (),
    )
    encoder = encoder if start is None else start.with_scales(encoder)
    encoder.save(folder / "encoder.npz")
    return encoder


def encode(
    encoder: Encoder, dataset: Dataset, settings: TrainSettings, progress: Progress | None = None
) -> TrainingData:
    """Encodes the training and validation days with an ``encoder`` that was fitted on ``dataset``."""
    train, valid, test = _split_examples(encoder, dataset, settings)
    return _to_training_data(dataset, encoder, train, valid, test, settings, progress)


def prepare_served(
    dataset: Dataset,
    encoder: Encoder,
    settings: TrainSettings,
    served: ServedLog,
    folder: Path,
    progress: Progress | None = None,
    *,
    prepared: TrainingData | None = None,
) -> TrainingData:
    """Returns data like ``encode``, with more training rows: the requests of ``served`` that have lists.

    With ``prepared``, all but the training rows is that of ``prepared``. ``folder``: of the run.

    Their features use the dataset's exposures before them. Raises ValueError like ``build_examples``.
    """
    requests = served.requests(dataset.snapshot, settings.distil.list_works)
    shown = dataset.split()[0] if prepared is None else prepared.train.exposures
    rows = concat_impressions([shown, requests], dataset.tasks)
    times = feature_times(replace(dataset, exposures=rows), settings.features.refresh_hours)
    if prepared is None:
        _, valid, test = _split_examples(encoder, dataset, settings)
    else:
        valid, test = prepared.valid, prepared.test
    train = build_examples(encoder, dataset.snapshot, rows, times, happened=dataset.exposures)
    if prepared is not None and isinstance(prepared.train_batches, RowStream):  # requests have no outcome
        return replace(prepared, train=train, n_requests=len(requests))
    since_ms = 0 if prepared is None else prepared.since_ms
    data = _to_training_data(
        dataset,
        encoder,
        train,
        valid,
        test,
        settings,
        progress,
        len(requests),
        folder=folder,
        since_ms=since_ms,
    )
    if prepared is None:
        return data
    return replace(data, choices=prepared.choices, is_final=prepared.is_final)


def _split_examples(
    encoder: Encoder, dataset: Dataset, settings: TrainSettings, since_ms: int | None = None
) -> tuple[Examples, Examples, Examples]:
    """Returns the examples of the training, validation and test days. Training rows begin at ``since_ms``."""
    since_ms = dataset.snapshot.time_ms if since_ms is None else since_ms
    examples = _examples_since(encoder, dataset, settings, since_ms)
    train = examples.between(since_ms, dataset.train_until_ms)
    valid = examples.between(dataset.train_until_ms, dataset.valid_until_ms)
    return train, valid, examples.take(examples.exposures.time_ms >= dataset.valid_until_ms)


def _examples_since(encoder: Encoder, dataset: Dataset, settings: TrainSettings, since_ms: int) -> Examples:
    """Returns the examples of all days from ``since_ms`` on. Their features use all exposures."""
    rows = dataset.exposures
    times, is_read = feature_times(dataset, settings.features.refresh_hours), rows.time_ms >= since_ms
    if is_read.all():
        return build_examples(encoder, dataset.snapshot, rows, times)
    return build_examples(encoder, dataset.snapshot, rows.take(is_read), times[is_read], happened=rows)


def _to_training_data(
    dataset: Dataset,
    encoder: Encoder,
    train: Examples,
    valid: Examples,
    test: Examples,
    settings: TrainSettings,
    progress: Progress | None,
    n_requests: int = 0,
    *,
    folder: Path | None = None,
    since_ms: int = 0,
) -> TrainingData:
    """``folder``: of the run, for rows on disk; None: in memory. ``since_ms``: of the first training row."""
    if len(train) == n_requests or not len(valid):
        raise ValueError(
            f"{dataset.name}: {len(train) - n_requests} training and {len(valid)} validation exposures, "
            "expected at least one of each"
        )
    names = tuple(dict.fromkeys(("user_id", *INPUTS, *MATCHED)))
    other_types = [
        rows.between(since_ms, dataset.train_until_ms)
        for rows in examples_of_types(encoder, dataset, settings.features.refresh_hours)
    ]
    device = chosen_device(settings.run)
    train_batches: Batches | RowStream
    if folder is not None and settings.run.rows == "disk":
        shown = train.take(np.arange(len(train) - n_requests))
        source = f"{fingerprint(dataset, settings)}, rows since {since_ms}"
        train_batches = write_and_stream(shown, names, folder, source, device, progress)
    else:
        train_batches = Batches.from_examples(train, names, progress, device, more=other_types)
    valid_batches = Batches.from_examples(valid, names, progress, device)
    return TrainingData(
        encoder,
        train,
        valid,
        test,
        train_batches,
        valid_batches,
        n_requests,
        since_ms,
        timeless=dataset.timeless,
        drawn=dataset.drawn,
    )


def chosen_device(run: RunSettings) -> str:
    """Returns "cpu" or "cuda"; "auto" is CUDA if there is a device, and the CPU on ranks."""
    if run.device != "auto":
        return run.device
    return "cuda" if torch.cuda.is_available() and not is_connected() else "cpu"
