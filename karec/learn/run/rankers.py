"""A ranker, trained, calibrated on validation days, and exported: MMoE, logistic regression or LightGBM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from karec._clock import Progress
from karec.evaluate.measures.accuracy import auc
from karec.learn.distil.losses import play_time_loss
from karec.learn.export.onnx_export import export_onnx
from karec.learn.nets.baselines import LogisticRegression, fit_lightgbm
from karec.learn.nets.calibration import Calibrated, fit_calibration
from karec.learn.nets.ranker import Teacher
from karec.learn.nets.towers import Towers
from karec.learn.run.batches import Batches
from karec.learn.run.checkpoint import Checkpoint
from karec.learn.run.fitting import Progressed, fit
from karec.learn.run.prepare import PLAY_TIME, Prepared, auxiliary_labels, auxiliary_tasks
from karec.learn.settings.train import TrainSettings
from karec.types import Array

USER_SIDE = ("user_id", "user_ids", "user_numbers", "history", "skipped", "context")
LINEAR_RATE = 1e-2
LINEAR_DECAY = 0.01
NAMES = {"mmoe": "the ranker", "lr": "logistic regression"}


def train_ranker(
    kind: str,
    prepared: Prepared,
    settings: TrainSettings,
    path: Path,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Progressed:
    """Train a ranker ("mmoe", "lr" or "lightgbm"), calibrate it on validation days, export it to ``path``.

    The MMoE learns ``settings.auxiliary`` besides, and predicts them after the encoder's tasks.
    """
    if kind == "lightgbm":
        fit_lightgbm(
            prepared.train,
            prepared.valid,
            path,
            model_version=settings.model_version,
            seed=settings.seed,
            progress=progress,
        )
        return Progressed(done=True)
    train, valid = prepared.train_batches, prepared.valid_batches
    extra = auxiliary_tasks(prepared.train, settings.auxiliary) if kind == "mmoe" else ()
    tasks = (*prepared.encoder.tasks, *extra)
    model = build_ranker(kind, prepared, settings, extra).to(train.device)
    names = model.inputs
    linear = kind == "lr"
    labels = torch.cat(
        [train.labels, torch.from_numpy(auxiliary_labels(prepared.train, extra)).to(train.device)], dim=1
    )
    weights = task_weights(tasks, settings.task_weights, train.device)
    done = fit(
        model,
        len(train),
        lambda rows, step: ranker_loss(model.by_member(train.inputs(rows, names)), labels[rows], tasks, weights),
        lambda: mean_auc(predict(model, valid), prepared.valid.labels),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        rate=LINEAR_RATE if linear else settings.learning_rate,
        weight_decay=LINEAR_DECAY if linear else settings.weight_decay,
        patience=settings.patience,
        seed=settings.seed,
        what=f"training {NAMES[kind]}",
        checkpoint=checkpoint,
        progress=progress,
    )
    held_out = np.concatenate([prepared.valid.labels, auxiliary_labels(prepared.valid, extra)], axis=1)
    scale, bias = calibrate(predict(model, valid), held_out, tasks)
    model.cpu()
    export_onnx(
        Calibrated(model, scale, bias),
        prepared.example_batch(names),
        ["logits"],
        path,
        kind="ranker",
        tasks=tasks,
        model_version=settings.model_version,
        shared=[name for name in names if name in USER_SIDE],
    )
    return done


def build_ranker(
    kind: str, prepared: Prepared, settings: TrainSettings, extra: Sequence[str]
) -> Teacher | LogisticRegression:
    """A ranker as it begins, its weights drawn from the settings' seed."""
    torch.manual_seed(settings.seed)
    if kind == "lr":
        return LogisticRegression(prepared.encoder)
    return Teacher(
        prepared.encoder,
        prepared.train_batches.edges(settings.bins),
        extra=extra,
        towers=None if settings.ranker_features == "all" else settings.towers,
        dim=settings.dim,
        members=settings.members,
        hidden=settings.hidden,
        n_experts=settings.n_experts,
        dropout=settings.dropout,
        id_dropout=settings.id_dropout,
    )


def ranker_loss(logits: Tensor, labels: Tensor, tasks: Sequence[str], weights: Tensor) -> Tensor:
    """The mean over rows and members of the weighted sum over tasks: ``logits (B, M, H)``, ``labels (B, H)``."""
    plain = [at for at, task in enumerate(tasks) if task != PLAY_TIME]
    labels = labels.unsqueeze(1).expand_as(logits)
    loss = binary_cross_entropy_with_logits(logits[..., plain], labels[..., plain], reduction="none")
    total = (loss * weights[plain]).sum(dim=2).mean()
    if PLAY_TIME in tasks:
        at = tasks.index(PLAY_TIME)
        total = total + weights[at] * play_time_loss(logits[..., at], labels[..., at])
    return total


def calibrate(logits: Array, labels: Array, tasks: Sequence[str]) -> tuple[Array, Array]:
    """(scale, bias) of each head; play time is only moved, so that its predictions have the mean of what was played."""
    scale, bias = fit_calibration(logits, labels, [at for at, task in enumerate(tasks) if task != PLAY_TIME])
    if PLAY_TIME in tasks:
        at = tasks.index(PLAY_TIME)
        told, played = np.exp(np.minimum(logits[:, at], 30.0).astype(np.float64)).mean(), float(labels[:, at].mean())
        bias[at] = np.log(played / told) if played > 0 else 0.0
    return scale, bias


def task_weights(tasks: Sequence[str], weights: Mapping[str, float], device: torch.device) -> Tensor:
    """(H,) the weight of each task's loss, 1 where nothing is said."""
    return torch.tensor([weights.get(task, 1.0) for task in tasks], dtype=torch.float32, device=device)


def predict(model: Teacher | LogisticRegression | Towers, batches: Batches) -> Array:
    """(M, H) logits of a ranker, or of towers with the fused one first."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(inputs) for inputs in batches.in_order(model.inputs)])
    return np.asarray(logits.cpu().numpy())


def mean_auc(logits: Array, labels: Array) -> float:
    """The mean over the tasks of ``labels (N, T)`` of the AUC; a task of one class does not count."""
    values = [auc(labels[:, task], logits[:, task]) for task in range(labels.shape[1])]
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 0.0
