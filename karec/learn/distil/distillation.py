"""The whole distillation: towers learn from labels and the rank log, round by round, and are exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from karec._clock import Progress
from karec.learn._torch import Tensor, torch
from karec.learn.distil.round import WHAT, train_round
from karec.learn.distil.targets import Targets
from karec.learn.distil.tower_logits import training_logits
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.fitting import NOT_RECORDED, Recording
from karec.learn.fit.predictions import predict
from karec.learn.fit.prepare import Prepared
from karec.learn.fit.state import FitState
from karec.learn.nets.calibration import fit_calibration
from karec.learn.nets.towers import OfUsers, Towers
from karec.learn.settings.train import TrainSettings
from karec.training_data.lists import LoggedLists
from karec.training_data.soft_labels import SoftLabels

ROUND_SEED = 1000  # added to the seed at each born-again round, so that it begins from other weights


def train_towers(
    prepared: Prepared,
    soft: SoftLabels,
    lists: LoggedLists | None,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    recording_of: Callable[[str], Recording] = lambda _: NOT_RECORDED,
    start: Mapping[str, Tensor] | None = None,
) -> tuple[list[FitState], dict[str, dict[str, float]]]:
    """Train the towers as the settings' recipe says, and write user_tower.onnx and item_tower.onnx to
    ``folder``.

    Returns the trainings, one a born-again round, and what makes logits of the towers' outputs, calibrated on
    validation days: {"scale": {task: …}, "bias": {task: …}}. ``recording_of`` says where a training of a name
    is recorded; ``start``: the weights that the first round begins from. Raises DataError as ``train_round``
    does.
    """
    logged = Targets.of(soft, lists)
    model, state = train_round(
        prepared, logged, lists, settings, progress, recording_of("towers"), start=start
    )
    rounds = [state]
    for at in range(1, settings.distil.born_again + 1):
        targets = logged.averaged_with(*training_logits(model, prepared, lists))
        again = replace(settings, seed=settings.seed + at * ROUND_SEED)
        recording, what = recording_of(f"towers_{at}"), f"{WHAT}, round {at + 1}"
        model, state = train_round(prepared, targets, lists, again, progress, recording, what)
        rounds.append(state)
    heads = _calibrated_heads(model, prepared)
    _export(model, prepared, settings.model_version, folder)
    return rounds, heads


def _calibrated_heads(model: Towers, prepared: Prepared) -> dict[str, dict[str, float]]:
    """The scale and bias of each task's head, with the calibration on validation days multiplied in."""
    scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
    model.cpu()
    tasks = prepared.encoder.tasks
    with torch.no_grad():
        return {
            "scale": dict(zip(tasks, (model.scale.numpy()[1:] * scale).tolist(), strict=True)),
            "bias": dict(zip(tasks, (model.bias.numpy()[1:] * scale + bias).tolist(), strict=True)),
        }


def _export(model: Towers, prepared: Prepared, model_version: int, folder: Path) -> None:
    for tower, outputs, kind in (
        (model.user, OfUsers._fields, "user_tower"),
        (model.item, ["item_vector"], "item_tower"),
    ):
        inputs, path = prepared.example_batch(tower.inputs), folder / f"{kind}.onnx"
        export_onnx(
            tower, inputs, outputs, path, kind=kind, tasks=prepared.encoder.tasks, model_version=model_version
        )
