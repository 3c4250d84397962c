"""Trains the towers from labels and the rank log, and exports them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.errors import DataError
from karec.evaluate.agreement import RankedPools
from karec.evaluate.metrics.platt import fit_calibration
from karec.learn._torch import Tensor, torch
from karec.learn.distil.retrieval import (
    ListLoss,
    learns_from_lists,
    start_from_choices,
    validation_score,
)
from karec.learn.distil.step_loss import StepLoss
from karec.learn.distil.targets import Targets
from karec.learn.distil.tower_logits import logits_of_request
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.loop import B, FitState, fit
from karec.learn.fit.predictions import mean_auc, predict
from karec.learn.fit.prepare import FitChoice, TrainingData
from karec.learn.fit.rank_checkpoint import RankCheckpoint
from karec.learn.fit.warm_start import load_weights
from karec.learn.nets.towers import Towers, UserOutputs
from karec.learn.settings.settings import DistilSettings, OptimizerSettings, TrainSettings
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
    checkpoint: Checkpoint | RankCheckpoint | None = None,
    start: Mapping[str, Tensor] | None = None,
    *,
    pools: RankedPools | None = None,
) -> tuple[FitState, dict[str, dict[str, float]]]:
    """Trains the towers as set and writes user_tower.onnx and item_tower.onnx to ``folder``.

    Wide towers also have cross_weights.npz.

    Returns the training's state, and the scale and bias of each task's logit, calibrated on validation days:
    {"scale": {task: …}, "bias": {task: …}}. ``start``, ``pools``, DataError: see ``fit_towers``.
    """
    targets = Targets.from_logs(soft, lists)
    model, state = fit_towers(prepared, targets, lists, settings, progress, checkpoint, start, pools=pools)
    heads = _calibrated_heads(model, prepared, state.best_epoch)
    _export(model, prepared, settings.model_version, folder)
    return state, heads


def fit_towers(
    prepared: TrainingData,
    targets: Targets,
    lists: LoggedLists | None,
    settings: TrainSettings,
    progress: Progress | None = None,
    checkpoint: Checkpoint | RankCheckpoint | None = None,
    start: Mapping[str, Tensor] | None = None,
    *,
    pools: RankedPools | None = None,
) -> tuple[Towers, FitState]:
    """Trains towers on ``targets``; keeps the best epoch on validation and stops when it no longer improves.

    The score is recall@100 with retrieval, else the fraction of the ranker's top 100 of ``pools`` that the
    towers keep, without pools the mean AUC. A final fit has the epochs of the tested towers. ``start``:
    initial weights, of towers of the same encoder and sizes; None: random, with lists of users those of
    ``start_from_choices``. Raises DataError if a loss needs lists or soft labels of training rows and there
    are none.
    """
    _check_targets(settings.distil, targets, lists)
    valid = prepared.valid_batches
    model = new_towers(prepared, settings)
    has_lists_of_users = learns_from_lists(prepared, settings)
    if start is not None:
        load_weights(model, start)
    elif has_lists_of_users:
        start_from_choices(model, prepared, settings.seed)

    def fused_logits(row: int, items: NDArray[Any]) -> NDArray[Any]:
        return logits_of_request(model, prepared.valid.pool(row, items), valid.device)[:, 0]

    def score() -> float:
        if settings.distil.retrieval_weight:
            return validation_score(model, prepared, settings.seed)
        if pools is not None:
            return pools.agreement(fused_logits)
        return mean_auc(predict(model, valid)[:, 1:], prepared.valid.labels)

    choice = prepared.final_choice("towers")
    epochs = choice.epochs if choice else settings.towers.epochs

    def fit_to(loss: _TowerLoss[B]) -> FitState:
        return fit(
            model,
            loss.epoch_rows,
            loss,
            None if choice else score,
            order=loss.epoch,
            optimizer=loss.optimizer,
            epochs=epochs,
            seed=settings.seed,
            title="training the towers",
            checkpoint=checkpoint,
            progress=progress,
            sharded_rows=settings.run.sharded_rows,
        )

    if has_lists_of_users:
        return model, fit_to(ListLoss(model, prepared, settings))
    steps = settings.replace(towers={"epochs": epochs})
    return model, fit_to(StepLoss(model, prepared, targets, lists, steps))


class _TowerLoss(Protocol[B]):
    """Loss of the batches of an epoch with ``epoch_rows`` rows."""

    epoch_rows: int
    optimizer: OptimizerSettings

    def epoch(self, generator: torch.Generator) -> Iterable[B]: ...

    def __call__(self, batch: B, step: int, /) -> Tensor: ...


def new_towers(prepared: TrainingData, settings: TrainSettings) -> Towers:
    """Returns untrained towers with the sizes of [towers]; weights depend on the seed."""
    torch.manual_seed(settings.seed)
    towers, train = settings.towers, prepared.train_batches
    return Towers(
        prepared.encoder,
        train.edges(settings.features.bins),
        dim=settings.features.dim,
        hidden=towers.hidden,
        vector=towers.vector,
        id_dropout=towers.id_dropout,
        profile_dropout=towers.profile_dropout,
        matching=settings.has_matching_towers,
        wide=settings.has_wide_towers,
    ).to(train.device)


def _check_targets(distil: DistilSettings, targets: Targets, lists: LoggedLists | None) -> None:
    if distil.needs_lists and (lists is None or not len(lists)):
        raise DataError(
            f"recipe {distil.recipe!r} needs lists of {distil.list_works} items, and the rank log has none "
            "of a training request. Raise shadow.share, or set the weights of the list losses to 0."
        )
    if distil.soft_weight and not targets.known.any():
        raise DataError(
            f"recipe {distil.recipe!r} needs the ranker's logits, and the rank log has no row of a training "
            "exposure. Check that both use the same users, items and times (in ms), or set "
            "distil.soft_weight to 0."
        )


def _calibrated_heads(model: Towers, prepared: TrainingData, epochs: int) -> dict[str, dict[str, float]]:
    """Returns scale and bias of each task's head, combined with the calibration on validation days.

    A final fit has the calibration of the tested towers.
    """
    choice = prepared.final_choice("towers")
    if choice is None:
        calibration = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
        choice = prepared.choices["towers"] = FitChoice(epochs, *calibration)
    scale, bias = choice.scale, choice.bias
    assert scale is not None and bias is not None
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
    if model.wide is None:
        (folder / CROSS_WEIGHTS).unlink(missing_ok=True)
    else:
        model.wide.to_weights().save(folder / CROSS_WEIGHTS)
