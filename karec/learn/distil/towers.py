"""The towers learn: from what users did, from what the ranker logged, and from their own last round.

    exposed rows      hard and soft labels, a head for each task and the fused one
    logged lists      soft labels of their works and their order, by the fused head
    contrast          a user's clicked work against the batch's others and recalled works that were not shown

The fused head's hard label is the fusion of the row's labels, Σ w·y / Σ w: its mean is the fused probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karec._clock import Progress
from karec.errors import DataError
from karec.learn.distil.losses import (
    chunk_loss,
    contrastive_loss,
    distillation_loss,
    list_loss,
    pairwise_loss,
    soft_label_loss,
)
from karec.learn.export.onnx_export import export_onnx
from karec.learn.nets.calibration import fit_calibration
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.run.checkpoint import Checkpoint
from karec.learn.run.fitting import Progressed, fit
from karec.learn.run.prepare import Prepared
from karec.learn.run.rankers import mean_auc, predict, task_weights
from karec.learn.settings.train import TrainSettings
from karec.training_data.lists import Lists
from karec.training_data.soft_labels import SoftLabels
from karec.types import Array

EPSILON = 1e-6
ROUND_SEED = 1000  # a later round begins from other weights than the one before


@dataclass(frozen=True, eq=False)
class Targets:
    """What the ranker said, as logits with the fused one first: ``rows (M, 1 + T)``, ``known (M,) bool``, and of the
    lists ``lists (L, N)``, fused alone. Without lists L is 0.
    """

    rows: Array
    known: Array
    lists: Array

    @classmethod
    def of(cls, soft: SoftLabels, lists: Lists | None) -> Targets:
        fused = np.empty((0, 2), np.float32) if lists is None else lists.fused
        return cls(np.concatenate([_logit(soft.fused)[:, None], soft.logits], axis=1), soft.known, _logit(fused))

    def joined_by(self, rows: Array, lists: Array) -> Targets:
        """The mean of these and another model's logits; rows that the log does not know are known now."""
        both = np.where(self.known[:, None], (self.rows + rows) / 2, rows)
        return replace(self, rows=both, known=np.ones_like(self.known), lists=(self.lists + lists) / 2)


def train_towers(
    prepared: Prepared,
    soft: SoftLabels,
    lists: Lists | None,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> tuple[list[Progressed], dict[str, Any]]:
    """Train the towers as the settings' recipe says, export both to ``folder``.

    Returns the trainings, one a born-again round, and, for whoever wants logits from vectors, {"scale": {task: …},
    "bias": {task: …}}, calibrated on validation days. Raises DataError when a loss needs lists and there is none.
    """
    logged = Targets.of(soft, lists)
    kept = (lambda _: None) if checkpoint is None else checkpoint
    model, done = train_round(prepared, logged, lists, settings, progress, kept("towers"))
    rounds = [done]
    for at in range(1, settings.born_again + 1):
        targets = logged.joined_by(*own_logits(model, prepared, lists))
        again = replace(settings, seed=settings.seed + at * ROUND_SEED)
        model, done = train_round(prepared, targets, lists, again, progress, kept(f"towers_{at}"), at)
        rounds.append(done)
    scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
    model.cpu()
    tasks = prepared.encoder.tasks
    with torch.no_grad():
        heads = {
            "scale": dict(zip(tasks, (model.scale.numpy()[1:] * scale).tolist(), strict=True)),
            "bias": dict(zip(tasks, (model.bias.numpy()[1:] * scale + bias).tolist(), strict=True)),
        }
    for tower, outputs, kind in (
        (model.user, ["user_vector", "task_vectors"], "user_tower"),
        (model.item, ["item_vector"], "item_tower"),
    ):
        inputs, path = prepared.example_batch(tower.inputs), folder / f"{kind}.onnx"
        export_onnx(tower, inputs, outputs, path, kind=kind, tasks=tasks, model_version=settings.model_version)
    return rounds, heads


def train_round(
    prepared: Prepared,
    targets: Targets,
    lists: Lists | None,
    settings: TrainSettings,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    at: int = 0,
) -> tuple[Towers, Progressed]:
    """One training of new towers; ``at`` is the born-again round, for the bar's name."""
    if settings.needs_lists and (lists is None or not len(lists)):
        raise DataError(
            f"recipe {settings.recipe!r} learns from lists of {settings.list_works} works, and the rank log has none "
            "so long for a training request: raise shadow_share, or set the weights of the list losses to 0"
        )
    if settings.soft_weight and not targets.known.any():
        raise DataError(
            f"recipe {settings.recipe!r} learns from what the ranker said, and the rank log has no row of a training "
            "exposure: is it of these users, works and moments (in ms)? Or set soft_weight to 0"
        )
    train, valid = prepared.train_batches, prepared.valid_batches
    torch.manual_seed(settings.seed)
    model = Towers(
        prepared.encoder,
        train.edges(settings.bins),
        towers=settings.towers,
        dim=settings.dim,
        hidden=settings.tower_hidden,
        vector=settings.vector,
        id_dropout=settings.tower_id_dropout,
        profile_dropout=settings.profile_dropout,
        matching=settings.matching,
    ).to(train.device)
    done = fit(
        model,
        len(train),
        _Lesson(model, prepared, targets, lists, settings),
        lambda: mean_auc(predict(model, valid)[:, 1:], prepared.valid.labels),
        epochs=settings.tower_epochs,
        batch_size=settings.batch_size,
        rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=settings.seed,
        what="training the towers" + (f", round {at + 1}" if at else ""),
        checkpoint=checkpoint,
        progress=progress,
    )
    return model, done


def own_logits(model: Towers, prepared: Prepared, lists: Lists | None) -> tuple[Array, Array]:
    """What the towers say of the training rows (M, 1 + T), and their fused logit of the lists' works (L, N)."""
    rows = predict(model, prepared.train_batches)
    if lists is None:
        return rows, np.empty((0, 2), np.float32)
    with torch.no_grad():
        users = torch.cat([model.user(i)[0] for i in prepared.train_batches.in_order(UserTower.inputs)])
    return rows, list_logits(model, users[torch.from_numpy(lists.rows)], prepared, lists.works, lists.numbers)


def list_logits(model: Towers, users: Tensor, prepared: Prepared, works: Array, numbers: Array) -> Array:
    """(L, N) fused logits: ``users (L, D)`` fused user vectors, ``works (L, N)``, ``numbers (L, N, J)``."""
    model.eval()
    out = np.empty(works.shape, np.float32)
    step = max(50_000 // works.shape[1], 1)
    with torch.no_grad():
        for begin in range(0, len(works), step):
            part = slice(begin, begin + step)
            vectors = _item_vectors(model, prepared, torch.from_numpy(works[part]), torch.from_numpy(numbers[part]))
            cosines = torch.einsum("ld,lnd->ln", users[part], vectors)
            out[part] = (model.scale[0] * cosines + model.bias[0]).cpu().numpy()
    return out


class _Lesson:
    """The loss of a batch of rows at a step: ``lesson(rows, step)``."""

    def __init__(
        self, model: Towers, prepared: Prepared, targets: Targets, lists: Lists | None, settings: TrainSettings
    ) -> None:
        self.model, self.prepared, self.settings = model, prepared, settings
        train = prepared.train_batches
        device = train.device
        tasks = prepared.encoder.tasks
        self.labels = torch.cat([fused_labels(train.labels, tasks, settings).unsqueeze(1), train.labels], dim=1)
        self.weights = task_weights(("fused", *tasks), settings.task_weights, device)
        self.rows = torch.from_numpy(targets.rows).to(device)
        self.known = torch.from_numpy(targets.known).to(device)
        self.alone_until = settings.kd_warm_up * settings.tower_epochs * -(-len(train) // settings.batch_size)
        self.clicked = train.labels[:, 0] > 0
        self.work = torch.from_numpy(prepared.train.work_rows)
        if lists is not None and settings.needs_lists:
            self.list_rows = torch.from_numpy(lists.rows)
            self.list_works, self.list_numbers = torch.from_numpy(lists.works), torch.from_numpy(lists.numbers)
            self.list_targets = torch.from_numpy(targets.lists).to(device)
            draw = torch.Generator().manual_seed(settings.seed)
            self.list_order = torch.randperm(len(lists), generator=draw)
            n_works = len(prepared.train.snapshot.works)
            shown = np.bincount(prepared.train.work_rows[self.clicked.cpu().numpy()], minlength=n_works)
            recalled = np.bincount(lists.works.ravel(), minlength=n_works)
            self.shown = torch.from_numpy(shown / max(shown.sum(), 1)).float()
            self.recalled = torch.from_numpy(recalled / recalled.sum()).float()

    def __call__(self, rows: Tensor, step: int) -> Tensor:
        settings, model = self.settings, self.model
        distils = step >= self.alone_until
        inputs = self.prepared.train_batches.inputs(rows, Towers.inputs)
        fused, by_task = model.user(inputs)
        works = model.item(inputs)
        loss = distillation_loss(
            model.logits(fused, by_task, works),
            self.labels[rows],
            self.rows[rows],
            self.known[rows],
            soft_weight=settings.soft_weight if distils else 0.0,
            temperature=settings.temperature,
            weights=self.weights,
        )
        from_lists = distils and max(settings.list_weight, settings.pool_weight, settings.pairwise_weight) > 0
        if not (from_lists or settings.unexposed_weight):
            return loss
        n = settings.lists_per_step
        at = self.list_order[(step * n + torch.arange(n)) % len(self.list_order)]
        recalled = _item_vectors(model, self.prepared, self.list_works[at], self.list_numbers[at])
        if from_lists:
            loss = loss + self._order(at, recalled)
        if settings.unexposed_weight:
            loss = loss + settings.unexposed_weight * self._contrast(rows, fused, works, at, recalled)
        return loss

    def _order(self, at: Tensor, works: Tensor) -> Tensor:
        settings, model = self.settings, self.model
        users, _ = model.user(self.prepared.train_batches.inputs(self.list_rows[at], UserTower.inputs))
        s = model.scale[0] * torch.einsum("ld,lnd->ln", users, works) + model.bias[0]
        t = self.list_targets[at]
        loss = s.new_zeros(())
        if settings.list_weight:
            loss = loss + settings.list_weight * list_loss(s, t, settings.list_temperature)
        if settings.pool_weight:
            loss = loss + settings.pool_weight * soft_label_loss(s, t, settings.temperature).mean()
        if settings.pairwise_weight:
            by_pairs = pairwise_loss(s, t) if settings.pairwise == "plain" else chunk_loss(s, t, settings.chunks)
            loss = loss + settings.pairwise_weight * by_pairs
        return loss

    def _contrast(self, rows: Tensor, users: Tensor, works: Tensor, at: Tensor, recalled: Tensor) -> Tensor:
        clicked = self.clicked[rows]
        if not clicked.any():
            return users.new_zeros(())
        ids = torch.cat([self.work[rows][clicked.cpu()], self.list_works[at].flatten()])
        expected = clicked.sum().cpu() * self.shown[ids] + self.list_works[at].numel() * self.recalled[ids]
        own = torch.arange(int(clicked.sum()), device=users.device)
        candidates = torch.cat([works[clicked], recalled.flatten(0, 1)])
        log_q = torch.log(expected.clamp(min=EPSILON)).to(users.device)
        temperature = self.settings.contrast_temperature
        return contrastive_loss(users[clicked], candidates, own, ids.to(users.device), log_q, temperature)


def fused_labels(labels: Tensor, tasks: tuple[str, ...], settings: TrainSettings) -> Tensor:
    """(M,) the fusion of ``labels (M, T)``; what the fusion weighs beside the tasks leaves no label here."""
    w = torch.tensor([settings.fusion.get(task, 0.0) for task in tasks], device=labels.device)
    return labels @ (w / w.sum().clamp(min=EPSILON))


def _item_vectors(model: Towers, prepared: Prepared, works: Tensor, numbers: Tensor) -> Tensor:
    """(L, N, D) of works (L, N) with their numbers (L, N, J)."""
    batches = prepared.train_batches
    inputs = {
        "item_ids": batches.work_ids(works.flatten()),
        "item_numbers": numbers.flatten(0, 1).to(batches.device),
    }
    vectors: Tensor = model.item(inputs)
    return vectors.reshape(*works.shape, -1)


def _logit(p: Array) -> Array:
    clipped = np.clip(np.asarray(p, np.float64), EPSILON, 1 - EPSILON)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float32)
