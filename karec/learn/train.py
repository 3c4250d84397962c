"""Training, step by step: examples → ranker → its log → towers that learn from the log → models for serving.

The run folder afterwards: encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, baseline_<name>.onnx, rank_log/,
run.json (settings, model version, the towers' scales and biases, epochs, seconds) and quality.json.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from karec.encoder import Encoder
from karec.evaluate.metrics import auc
from karec.learn.baselines import LogisticRegression, fit_lightgbm
from karec.learn.batches import Batches
from karec.learn.calibration import Calibrated, fit_calibration
from karec.learn.examples import Examples, build_examples, check_no_leak
from karec.learn.export import export_onnx
from karec.learn.fitting import Epoch, fit
from karec.learn.losses import distillation_loss, soft_label_loss
from karec.learn.quality import as_known, evaluate_run
from karec.learn.replay import write_rank_log
from karec.learn.settings import TrainSettings
from karec.learn.soft_labels import SoftLabels, read_soft_labels
from karec.learn.teacher import Teacher
from karec.learn.towers import Towers
from karec.onnx_model import OnnxModel
from karec.rank.fusion import Fusion
from karec.snapshot import Dataset
from karec.types import Array

__all__ = ["TrainResult", "evaluate_run", "prepare", "train_all", "train_ranker", "train_towers"]

Progress = Callable[[int, int, str], None]
USER_SIDE = ("user_ids", "user_numbers", "history", "skipped", "context")
EXAMPLE_ROWS = 64
LINEAR_RATE = 1e-2
LINEAR_DECAY = 0.01


@dataclass(frozen=True, eq=False)
class Prepared:
    """Examples of the training and validation days, as the run's encoder sees them, encoded once."""

    encoder: Encoder
    train: Examples
    valid: Examples
    train_batches: Batches
    valid_batches: Batches


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What training left: the run ``folder``, ``quality`` on the test days, the epochs and seconds of each step."""

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def prepare(dataset: Dataset, settings: TrainSettings, folder: Path, progress: Progress | None = None) -> Prepared:
    """Fit the encoder on the training days, write it to ``folder``, and encode training and validation days."""
    encoder = Encoder.fit(
        dataset.snapshot,
        dataset.split()[0],
        dataset.tasks,
        history_length=settings.history_length,
        min_count=settings.min_count,
    )
    encoder.save(folder / "encoder.npz")
    as_of = as_known(dataset, settings.refresh_hours)
    check_no_leak(lambda some: build_examples(encoder, dataset.snapshot, some, as_of[: len(some)]), dataset.exposures)
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    train = examples.between(dataset.snapshot.time_ms, dataset.train_until_ms)
    valid = examples.between(dataset.train_until_ms, dataset.valid_until_ms)
    if not len(train) or not len(valid):
        raise ValueError(
            f"{dataset.name}: {len(train)} training and {len(valid)} validation exposures; both are needed"
        )
    return Prepared(
        encoder, train, valid, Batches(train, Teacher.inputs, progress), Batches(valid, Teacher.inputs, progress)
    )


def train_ranker(
    kind: str,
    prepared: Prepared,
    settings: TrainSettings,
    path: Path,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Train a ranker ("mmoe", "lr" or "lightgbm"), calibrate it on validation days, export it to ``path``."""
    encoder = prepared.encoder
    if kind == "lightgbm":
        fit_lightgbm(
            prepared.train,
            prepared.valid,
            path,
            model_version=settings.model_version,
            seed=settings.seed,
            progress=progress,
        )
        return []
    model = _ranker(kind, prepared, settings)
    train, valid = prepared.train_batches, prepared.valid_batches
    names = model.inputs
    linear = kind == "lr"
    epochs = fit(
        model,
        len(train),
        lambda rows: cross_entropy(model(train.inputs(rows, names)), train.labels[rows]),
        lambda: mean_auc(predict(model, valid), prepared.valid.labels),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        rate=LINEAR_RATE if linear else settings.learning_rate,
        weight_decay=LINEAR_DECAY if linear else settings.weight_decay,
        patience=settings.patience,
        seed=settings.seed,
        what={"mmoe": "training the ranker", "lr": "training logistic regression"}[kind],
        progress=progress,
    )
    scale, bias = fit_calibration(predict(model, valid), prepared.valid.labels)
    export_onnx(
        Calibrated(model, scale, bias),
        _example_batch(prepared, names),
        ["logits"],
        path,
        kind="ranker",
        tasks=encoder.tasks,
        model_version=settings.model_version,
        shared=[name for name in names if name in USER_SIDE],
    )
    return epochs


def train_towers(
    prepared: Prepared,
    soft: SoftLabels,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[list[Epoch], dict[str, Any]]:
    """Train the towers on hard labels and the log's softened ones, export both to ``folder``.

    Returns the epochs and, for whoever wants logits from vectors, {"scale": {task: …}, "bias": {task: …}}, calibrated
    on validation days.
    """
    encoder = prepared.encoder
    torch.manual_seed(settings.seed)
    model = Towers(
        encoder,
        prepared.train_batches.edges(settings.bins),
        dim=settings.dim,
        hidden=settings.tower_hidden,
        vector=settings.vector,
        id_dropout=settings.id_dropout,
    )
    train, valid = prepared.train_batches, prepared.valid_batches
    logits, known = torch.from_numpy(soft.logits), torch.from_numpy(soft.known)
    fused = torch.logit(torch.from_numpy(soft.fused), eps=1e-6)

    def loss_of(rows: Tensor) -> Tensor:
        s = model(train.inputs(rows, Towers.inputs))
        by_task = distillation_loss(
            s[:, 1:],
            train.labels[rows],
            logits[rows],
            known[rows],
            soft_weight=settings.soft_weight,
            temperature=settings.temperature,
        )
        # users leave no label of the fused score: its head has the ranker alone to learn from
        return by_task + (soft_label_loss(s[:, 0], fused[rows], settings.temperature) * known[rows]).mean()

    epochs = fit(
        model,
        len(train),
        loss_of,
        lambda: mean_auc(predict(model, valid), prepared.valid.labels),
        epochs=settings.tower_epochs,
        batch_size=settings.batch_size,
        rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=settings.seed,
        what="training the towers",
        progress=progress,
    )
    scale, bias = fit_calibration(predict(model, valid), prepared.valid.labels)
    with torch.no_grad():
        heads = {
            "scale": dict(zip(encoder.tasks, (model.scale.numpy()[1:] * scale).tolist(), strict=True)),
            "bias": dict(zip(encoder.tasks, (model.bias.numpy()[1:] * scale + bias).tolist(), strict=True)),
        }
    for tower, outputs, kind in (
        (model.user, ["user_vector", "task_vectors"], "user_tower"),
        (model.item, ["item_vector"], "item_tower"),
    ):
        inputs, path = _example_batch(prepared, tower.inputs), folder / f"{kind}.onnx"
        export_onnx(tower, inputs, outputs, path, kind=kind, tasks=encoder.tasks, model_version=settings.model_version)
    return epochs, heads


def train_all(dataset: Dataset, settings: TrainSettings, out: Path, progress: Progress | None = None) -> TrainResult:
    """Every step into the run folder ``out`` (a log in it is replaced), then quality on the test days."""
    fusion = Fusion(settings.fusion)
    fusion(
        np.zeros((1, len(dataset.tasks)), np.float32), dataset.tasks
    )  # a wrong task is told before hours of training
    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    clock = _Clock()
    try:
        prepared = prepare(dataset, settings, out, progress)
        clock.lap("examples")
        epochs: dict[str, list[Epoch]] = {
            settings.ranker: train_ranker(settings.ranker, prepared, settings, out / "ranker.onnx", progress)
        }
        clock.lap("ranker")
        for name in settings.baselines:
            if name != settings.ranker:
                path = out / f"baseline_{name}.onnx"
                epochs[name] = train_ranker(name, prepared, settings, path, progress)
        clock.lap("baselines")
        shutil.rmtree(out / "rank_log", ignore_errors=True)
        ranker = OnnxModel(out / "ranker.onnx", threads=settings.threads)
        write_rank_log(prepared.train, ranker, fusion, out / "rank_log", progress)
        clock.lap("rank log")
        soft = read_soft_labels(prepared.train.exposures, out / "rank_log", dataset.tasks)
        epochs["towers"], heads = train_towers(prepared, soft, settings, out, progress)
        clock.lap("towers")
        facts = {"settings": asdict(settings), "tasks": dataset.tasks, "towers": heads}
        facts |= {"epochs": {name: [asdict(epoch) for epoch in run] for name, run in epochs.items()}}
        _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress)
        clock.lap("evaluation")
    finally:
        torch.set_num_threads(threads)
    _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    return TrainResult(out, quality, epochs, clock.seconds)


def predict(model: Teacher | LogisticRegression | Towers, batches: Batches) -> Array:
    """(M, T) task logits of a ranker or of the towers."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(inputs) for inputs in batches.in_order(model.inputs)]).numpy()
    return np.asarray(logits[:, 1:] if isinstance(model, Towers) else logits)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over rows of the sum over tasks."""
    return binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1).mean()


def mean_auc(logits: Array, labels: Array) -> float:
    """The mean over tasks of the AUC; a task of one class does not count."""
    values = [auc(labels[:, task], logits[:, task]) for task in range(labels.shape[1])]
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 0.0


def _ranker(kind: str, prepared: Prepared, settings: TrainSettings) -> Teacher | LogisticRegression:
    torch.manual_seed(settings.seed)
    if kind == "lr":
        return LogisticRegression(prepared.encoder)
    return Teacher(
        prepared.encoder,
        prepared.train_batches.edges(settings.bins),
        dim=settings.dim,
        hidden=settings.hidden,
        n_experts=settings.n_experts,
        dropout=settings.dropout,
        id_dropout=settings.id_dropout,
    )


def _example_batch(prepared: Prepared, names: tuple[str, ...]) -> dict[str, Array]:
    """The first training rows: what an export is traced and checked with."""
    inputs = prepared.train.inputs(np.arange(min(EXAMPLE_ROWS, len(prepared.train))))
    return {name: inputs[name] for name in names}


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=1), encoding="utf-8")


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
