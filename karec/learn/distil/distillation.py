"""The whole distillation: towers learn from labels and the rank log, and are exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from karec.learn._torch import Tensor, torch
from karec.learn.distil.round import train_round
from karec.learn.distil.targets import Targets
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.loop import NOT_RECORDED, FitState, Recording
from karec.learn.fit.predictions import predict
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.calibration import fit_calibration
from karec.learn.nets.towers import Towers, UserOutputs
from karec.learn.settings.settings import TrainSettings
from karec.samples.lists import LoggedLists
from karec.samples.soft_labels import SoftLabels
from karec.times import Progress


def train_towers(
    prepared: TrainingData,
    soft: SoftLabels,
    lists: LoggedLists | None,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    recording: Recording = NOT_RECORDED,
    start: Mapping[str, Tensor] | None = None,
) -> tuple[FitState, dict[str, dict[str, float]]]:
    """Train the towers as the settings' recipe says, and write user_tower.onnx and item_tower.onnx to
    ``folder``.

    Returns the training, and the scale and bias that turn the towers' outputs into logits, calibrated on
    validation days: {"scale": {task: …}, "bias": {task: …}}. ``start``: the weights to begin from. Raises
    DataError as ``train_round`` does.
    """
    targets = Targets.of(soft, lists)
    model, state = train_round(prepared, targets, lists, settings, progress, recording, start=start)
    heads = _calibrated_heads(model, prepared)
    _export(model, prepared, settings.model_version, folder)
    return state, heads


def _calibrated_heads(model: Towers, prepared: TrainingData) -> dict[str, dict[str, float]]:
    """The scale and bias of each task's head, with the calibration on validation days multiplied in."""
    scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
    model.cpu()
    tasks = prepared.encoder.tasks
    with torch.no_grad():
        return {
            "scale": dict(zip(tasks, (model.scale.numpy()[1:] * scale).tolist(), strict=True)),
            "bias": dict(zip(tasks, (model.bias.numpy()[1:] * scale + bias).tolist(), strict=True)),
        }


def _export(model: Towers, prepared: TrainingData, model_version: int, folder: Path) -> None:
    for tower, outputs, kind in (
        (model.user, UserOutputs._fields, "user_tower"),
        (model.item, ["item_vector"], "item_tower"),
    ):
        inputs, path = prepared.example_batch(tower.inputs), folder / f"{kind}.onnx"
        export_onnx(
            tower, inputs, outputs, path, kind=kind, tasks=prepared.encoder.tasks, model_version=model_version
        )
