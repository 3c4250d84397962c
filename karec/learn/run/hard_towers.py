"""Baseline towers that learn only from labels; the difference shows the gain of distillation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from karec.learn._torch import Tensor, nn
from karec.learn.distil.distillation import fit_towers
from karec.learn.distil.targets import Targets
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.loop import NOT_RECORDED, FitState, Recording
from karec.learn.fit.predictions import predict
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.calibration import Calibrated, fit_calibration
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress


class TaskLogits(nn.Module):
    """Both towers as one model: ``inputs`` → logits (B, T), without the fused head."""

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.towers(inputs)[:, 1:]
        return logits


def train_hard_towers(
    prepared: TrainingData,
    settings: TrainSettings,
    path: Path,
    progress: Progress | None = None,
    recording: Recording = NOT_RECORDED,
) -> FitState:
    """Trains towers with recipe *hard*, calibrates them, and writes both to ``path`` as one model.

    The model has the outputs of a ranker, so it is measured like one.
    """
    n, tasks = len(prepared.train), prepared.encoder.tasks
    heads = 1 + len(tasks)
    targets = Targets(
        np.zeros((n, heads), np.float32), np.zeros(n, bool), np.empty((0, 2, heads), np.float32)
    )
    hard = settings.with_recipe("hard")
    model, state = fit_towers(
        prepared, targets, None, hard, progress, recording, title="training hard towers"
    )
    scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
    export_onnx(
        Calibrated(TaskLogits(model.cpu()), scale, bias),
        prepared.example_batch(model.inputs),
        ["logits"],
        path,
        kind="ranker",
        tasks=tasks,
        model_version=settings.model_version,
    )
    return state
