"""Trains a ranker, calibrates it on validation days and exports it: MMoE, logistic regression or LightGBM."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.platt import fit_calibration
from karec.learn._torch import Tensor, functional, torch, torch_threads
from karec.learn.distil.losses import play_time_loss
from karec.learn.export.onnx_export import export_onnx
from karec.learn.export.row_sums import SummedForm
from karec.learn.fit.batches import Batch
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.loop import FitState, fit
from karec.learn.fit.predictions import mean_auc, predict, task_weights
from karec.learn.fit.prepare import FitChoice, TrainingData
from karec.learn.fit.rank_checkpoint import RankCheckpoint
from karec.learn.fit.warm_start import load_weights
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.served_ranker import ServedRanker
from karec.learn.nets.summed_ranker import summed_form
from karec.learn.run.lightgbm import fit_lightgbm
from karec.learn.settings.settings import TrainSettings
from karec.samples.auxiliary_tasks import PLAY_TIME, auxiliary_labels, auxiliary_tasks
from karec.times import Progress

USER_SIDE = ("user_id", "user_ids", "user_numbers", "history", "skipped", "context")
# of logistic regression, independent of [optimizer]; chosen on generated shops of three kinds
LINEAR_RATE, LINEAR_EPOCHS = 1e-2, 5
LINEAR_PENALTY = 40.0  # of squared weights, in rows; chosen on KuaiRand and a shop of 142,000 rows
LINEAR_STEPS = 120  # of an epoch; small logs have smaller batches
LINEAR_BATCH = 1024  # rows, at most
NAMES = {"mmoe": "the ranker", "lr": "logistic regression"}


def train_ranker(
    kind: str,
    prepared: TrainingData,
    settings: TrainSettings,
    path: Path,
    progress: Progress | None = None,
    checkpoint: Checkpoint | RankCheckpoint | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> FitState:
    """Trains a ranker ("mmoe", "lr" or "lightgbm"), calibrates and exports it.

    The MMoE also learns ``settings.ranker.auxiliary`` and predicts them after the encoder's tasks. ``start``:
    initial weights of an MMoE; None: random.
    """
    if kind == "lightgbm":
        version, seed = settings.model_version, settings.seed
        fit_lightgbm(prepared, path, model_version=version, seed=seed, progress=progress)
        return FitState(done=True)
    with torch_threads(1 if kind == "lr" else torch.get_num_threads()):  # lr: small tensors
        return _train_network(kind, prepared, settings, path, progress, checkpoint, start)


def _train_network(
    kind: str,
    prepared: TrainingData,
    settings: TrainSettings,
    path: Path,
    progress: Progress | None,
    checkpoint: Checkpoint | RankCheckpoint | None,
    start: Mapping[str, Tensor] | None,
) -> FitState:
    """Trains the MMoE or logistic regression with early stopping on the validation days.

    A final fit has the epochs and the calibration of the tested model: no row is left to calibrate it.
    """
    train, valid = prepared.train_batches, prepared.valid_batches
    exposures, auxiliary_names = prepared.train.exposures, settings.ranker.auxiliary if kind == "mmoe" else ()
    extra = auxiliary_tasks(exposures, prepared.encoder.tasks, auxiliary_names)
    tasks = (*prepared.encoder.tasks, *extra)
    model = build_ranker(kind, prepared, settings, extra).to(train.device)
    if start is not None:
        load_weights(model, start)
    n_numbers = max(len(train), len(exposures))
    auxiliary = torch.full((n_numbers, len(extra)), math.nan, device=train.device)  # unknown of other types
    auxiliary[: len(exposures)] = torch.from_numpy(auxiliary_labels(exposures, extra)).to(train.device)
    n_rows = len(train) if kind == "mmoe" else min(len(train), len(exposures))
    weights = task_weights(tasks, settings.task_weights, train.device)
    optimizer = settings.optimizer
    if kind == "lr":
        size = min(max(n_rows // LINEAR_STEPS, 1), LINEAR_BATCH)
        optimizer = optimizer.replace(batch_size=size, learning_rate=LINEAR_RATE, weight_decay=0.0)
    penalty = LINEAR_PENALTY / n_rows
    log_probability = prepared.sampling_log_probabilities()
    choice, epochs = prepared.final_choice(kind), LINEAR_EPOCHS if kind == "lr" else settings.ranker.epochs

    by_user = kind == "mmoe"

    def loss(batch: Batch, _: int) -> Tensor:
        numbers = batch.numbers
        labels = torch.cat([batch.labels, auxiliary[numbers]], dim=1)
        read = batch.inputs_by_user if by_user else batch.inputs
        logits = model.by_member(read(model.inputs))
        corrected = logits if log_probability is None else logits - log_probability[numbers].unsqueeze(1)
        total = ranker_loss(corrected, labels, tasks, weights)
        return total + penalty * model.penalty() if isinstance(model, LogisticRegression) else total

    state = fit(
        model,
        n_rows,
        loss,
        None if choice else lambda: mean_auc(predict(model, valid), prepared.valid.labels),
        optimizer=optimizer,
        epochs=choice.epochs if choice else epochs,
        seed=settings.seed,
        order=lambda generator: train.epoch(generator, optimizer.batch_size, n_rows, by_user=by_user),
        title=f"training {NAMES[kind]}",
        checkpoint=checkpoint,
        progress=progress,
        sharded_rows=settings.run.sharded_rows if kind == "mmoe" else None,
    )
    if choice is None:
        valid_labels = np.concatenate(
            [prepared.valid.labels, auxiliary_labels(prepared.valid.exposures, extra)], axis=1
        )
        scale, bias = calibrate(predict(model, valid), valid_labels, tasks)
        choice = prepared.choices[kind] = FitChoice(state.best_epoch, scale, bias)
    _export(model, choice, prepared, tasks, settings, path)
    return state


def _export(
    model: MmoeRanker | LogisticRegression,
    choice: FitChoice,
    prepared: TrainingData,
    tasks: Sequence[str],
    settings: TrainSettings,
    path: Path,
) -> None:
    """Exports the model with the calibration of ``choice``."""
    assert choice.scale is not None and choice.bias is not None
    model.cpu()
    calibrated = Calibrated(model, choice.scale, choice.bias)
    form = ServedRanker(calibrated, model) if isinstance(model, MmoeRanker) and model.crossed else None
    export_onnx(
        calibrated,
        prepared.example_batch(model.inputs),
        ["logits"],
        path,
        kind="ranker",
        tasks=tasks,
        model_version=settings.model_version,
        shared=[name for name in model.inputs if name in USER_SIDE],
        form=form,
        summed=None if form is None else lambda: make_summed_form(form),
    )


def make_summed_form(served: ServedRanker) -> SummedForm:
    """Returns the form of which a file of row sums is written."""
    module = summed_form(served)
    return SummedForm(module, module.inputs, module.outputs, module.table())


def build_ranker(
    kind: str, prepared: TrainingData, settings: TrainSettings, extra: Sequence[str]
) -> MmoeRanker | LogisticRegression:
    torch.manual_seed(settings.seed)
    ranker, features = settings.ranker, settings.features
    edges = prepared.train_batches.edges(features.bins)
    if kind == "lr":
        return LogisticRegression(prepared.encoder, edges)
    return MmoeRanker(
        prepared.encoder,
        edges,
        extra=extra,
        crossed=settings.distil.ranker_features == "all",
        dim=features.dim,
        members=ranker.members,
        hidden=ranker.hidden,
        n_experts=ranker.experts,
        dropout=ranker.dropout,
        id_dropout=ranker.id_dropout,
    )


def ranker_loss(logits: Tensor, labels: Tensor, tasks: Sequence[str], weights: Tensor) -> Tensor:
    """Returns the mean over rows and members of the weighted sum over tasks; ``logits (B, M, H)``.

    A label that is NaN is unknown and adds 0.
    """
    binary = [i for i, task in enumerate(tasks) if task != PLAY_TIME]
    is_known = ~labels.isnan()
    labels = labels.unsqueeze(1).expand_as(logits)
    loss = functional.binary_cross_entropy_with_logits(
        logits[..., binary], labels[..., binary].nan_to_num(), reduction="none"
    )
    total = (loss * (weights * is_known).unsqueeze(1)[..., binary]).sum(dim=2).mean()
    if PLAY_TIME in tasks:
        index = tasks.index(PLAY_TIME)
        rows = is_known[:, index]
        if rows.any():
            play = play_time_loss(logits[rows][..., index], labels[rows][..., index])
            total = total + weights[index] * rows.float().mean() * play
    return total


def calibrate(
    logits: NDArray[Any], labels: NDArray[Any], tasks: Sequence[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (scale, bias) of each head. Play time is only shifted, so that its mean is right."""
    scale, bias = fit_calibration(logits, labels, [i for i, task in enumerate(tasks) if task != PLAY_TIME])
    if PLAY_TIME in tasks:
        index = tasks.index(PLAY_TIME)
        predicted = np.exp(np.minimum(logits[:, index], 30.0).astype(np.float64)).mean()
        played = float(labels[:, index].mean())
        bias[index] = np.log(played / predicted) if played > 0 else 0.0
    return scale, bias
