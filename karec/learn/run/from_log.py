"""Continues the training of the towers with a served rank log; the ranker stays.

The towers start from the weights of the serving run. They learn from its first log of the training days and
from the served log: logits of exposures, and lists and pools, from which pre-ranking selects. Encoder, ranker
and baselines are those of the serving run; the ranker gets the new model version.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.dataset import Dataset
from karec.errors import ConfigError, DataError
from karec.evaluate.quality import evaluate_run, read_run
from karec.features.encoder import read_run_encoder
from karec.learn._torch import torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.distributed.ranks import rank, require_equal
from karec.learn.export.onnx_export import copy_as_version
from karec.learn.fit.checkpoint import best_weights
from karec.learn.fit.prepare import TrainingData, prepare_served
from karec.learn.run.first_log import rank_validation_pools
from karec.learn.run.run_folder import Checkpoints, Clock, make_folder, remove_rows, run_facts, write_json
from karec.learn.run.train import TrainResult
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.settings import TrainSettings, read_run_settings
from karec.logs.parts import LogFolder
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model
from karec.samples.lists import DRAWS, LoggedLists, select_lists
from karec.samples.served_log import ServedLog, read_served_log
from karec.samples.soft_labels import SoftLabels, join_soft_labels, read_teacher_log
from karec.times import Progress

TOWER_FILES = ("user_tower.onnx", "item_tower.onnx")
SIZES = ("hidden", "vector")  # settings that must equal those of the start weights


@dataclass(frozen=True)
class ServedRun:
    """A run folder whose ranker served, with the settings of its training."""

    folder: Path
    facts: dict[str, Any]
    settings: TrainSettings

    @classmethod
    def from_folder(cls, folder: Path) -> ServedRun:
        """Raises DataError if ``folder`` is not a run folder."""
        facts = read_run(folder)
        return cls(folder, facts, read_run_settings(folder, facts))

    @property
    def towers(self) -> Path:
        return self.folder / "checkpoints" / "towers.pt"


def train_from_log(
    dataset: Dataset,
    run: ServedRun,
    log: LogFolder,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    *,
    version: int | None = None,
    resume: bool = False,
) -> TrainResult:
    """Trains towers from the served ``log`` into the run folder ``out``, and measures quality.

    ``version``: use only log rows of this model version.

    Raises before training
      ConfigError       settings with which the towers would differ from the run's
      DataError         data with other tasks
      LogSchemaError    a log without usable rows (``read_served_log``)
      CheckpointError   missing towers
    """
    settings = _with_settings_of_run(run, settings, dataset)
    _check_run(dataset, run, settings, out)
    check_training(dataset, settings)
    ranker = OnnxModel(run.folder / "ranker.onnx")
    served = read_served_log(
        log,
        ranker,
        dataset.tasks,
        dataset.snapshot,
        dataset.valid_until_ms,
        version,
        settings.experiment.rows,
    )
    start = best_weights(run.towers)
    make_folder(out, resume)
    rows = crc32(
        np.ascontiguousarray(served.log.fused).data, crc32(np.ascontiguousarray(served.log.item_id).data)
    )
    content = (
        f"{fingerprint(dataset, settings)}, from {ranker.fingerprint} and served rows {len(served.log)} "
        f"{rows:08x}"
    )
    require_equal("settings, data or log", content)
    checkpoints = Checkpoints(out, settings.run.checkpoint_steps, content)
    clock = Clock()
    with torch_threads(settings.run.threads):
        _copy_models(run.folder, out, settings.model_version)
        encoder = read_run_encoder(run.folder, dataset.snapshot)
        encoder.save(out / "encoder.npz")
        prepared = prepare_served(dataset, encoder, settings, served, out, progress)
        clock.lap("examples")
        soft, lists = _soft_labels_and_lists(prepared, served, run.folder / "rank_log", settings)
        clock.lap("rank log")
        pools = None  # of one epoch there is no best one to choose
        if settings.towers.epochs > 1:
            pools = rank_validation_pools(prepared, settings, out / "ranker.onnx", progress)
        checkpoint = checkpoints.make("towers")
        state, heads = train_towers(
            prepared, soft, lists, settings, out, progress, checkpoint, start, pools=pools
        )
        runs = {"towers": state}
        clock.lap("towers")
        until_ms = max(dataset.valid_until_ms, run.facts.get("trained_until_ms", 0))
        notes = served.notes
        if until_ms >= dataset.end_ms:
            notes = (*notes, f"{run.folder} has learned from all impressions: quality is not measured")
        facts = run_facts(
            dataset,
            settings,
            prepared.encoder,
            heads,
            runs,
            notes,
            trained_until_ms=until_ms,
            ranked_by=run.facts.get("ranked_by", "ranker"),
        )
        remove_rows(out)
        write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        is_measured = until_ms < dataset.end_ms and rank() == 0
        quality = evaluate_run(dataset, out, progress) if is_measured else {}
        clock.lap("evaluation")
    write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    epochs = {name: state.history for name, state in runs.items()}
    return TrainResult(out, quality, epochs, clock.seconds, notes)


def _check_run(dataset: Dataset, run: ServedRun, settings: TrainSettings, out: Path) -> None:
    if out.resolve() == run.folder.resolve():
        raise ConfigError(
            f"{out} is the serving run. Write towers that learn from its log to another folder."
        )
    if tuple(run.facts["tasks"]) != tuple(dataset.tasks):
        raise DataError(
            f"{dataset.name} has the tasks {list(dataset.tasks)}, expected those of {run.folder}: "
            f"{run.facts['tasks']}"
        )
    was_matching = run.facts["settings"]["towers"].get("matching", run.settings.has_matching_towers)
    kinds = {
        "wide": (settings.has_wide_towers, (run.folder / CROSS_WEIGHTS).exists()),
        "matching": (settings.has_matching_towers, was_matching is True),
    }
    for kind, (is_now, was) in kinds.items():
        if is_now != was:
            wide, recipe = settings.towers.wide, settings.distil.recipe
            raise ConfigError(
                f"towers.wide = {wide} and recipe {recipe!r} make towers that are {'' if is_now else 'not '}"
                f"{kind}; those of {run.folder} are{'' if was else ' not'}. Set both as in that training, or "
                "use --from-scratch."
            )
    for key, value in _shape_settings(settings).items():
        expected = _shape_settings(run.settings)[key]
        if value != expected:
            raise ConfigError(f"{key} is {value!r}, expected {expected!r} as in the training of {run.folder}")


def _shape_settings(settings: TrainSettings) -> dict[str, Any]:
    """Returns the settings by key that must equal those of the start weights."""
    features = {f"features.{key}": value for key, value in settings.features.to_dict().items()}
    return features | {f"towers.{key}": getattr(settings.towers, key) for key in SIZES}


def _with_settings_of_run(run: ServedRun, settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """Returns resolved settings with the ranker and baselines of ``run``, which are not trained again.

    ``min_count`` is the run's if it is unset: with as many rows as there are now it would be another one.
    """
    min_count = settings.features.min_count or run.settings.features.min_count
    settings = settings.replace(features={"min_count": min_count}).resolve(dataset)
    baselines = run.settings.evaluation.baselines
    return settings.replace(ranker=run.settings.ranker, evaluation={"baselines": baselines})


def _copy_models(run: Path, out: Path, model_version: int) -> None:
    """Copies baselines, first log, and, with the new version, each model except the towers."""
    for path in run.glob("*.onnx"):
        if path.name.startswith("baseline_"):
            copy_model(path, out / path.name)
        elif path.name not in TOWER_FILES:
            copy_as_version(path, out / path.name, model_version)
    shutil.rmtree(out / "rank_log", ignore_errors=True)
    shutil.copytree(run / "rank_log", out / "rank_log")


def _soft_labels_and_lists(
    prepared: TrainingData,
    served: ServedLog,
    folder: Path,
    settings: TrainSettings,
) -> tuple[SoftLabels, LoggedLists | None]:
    """Returns soft labels and lists of both logs.

    For an exposure in both logs the served one is used. Its pools are those from which pre-ranking
    selects; the pools of the first log in ``folder`` cover many more users and times.
    """
    train, distil = prepared.train, settings.distil
    size, seed, served_labels = (
        distil.list_works,
        settings.seed,
        join_soft_labels(train.exposures, served.log),
    )
    log = read_teacher_log(folder, prepared.encoder.tasks)
    soft = join_soft_labels(train.exposures, log)
    lists = select_lists(train, log, size, seed) if distil.needs_lists else None
    if lists is None:
        return served_labels.or_else(soft), None
    return served_labels.or_else(soft), LoggedLists.concat(
        [select_lists(train, served.log, size, seed, DRAWS), lists]
    )
