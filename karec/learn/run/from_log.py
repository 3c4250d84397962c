"""A training from what was served: the towers learn on, from the log of the ranker that served; the ranker
stays.

The towers begin from those of the run that served. They learn from the run's first log over the training
days, and from the served log: its logits of what was shown, and its lists and pools, which are what prerank
chooses from. Encoder, ranker and baselines are the run's own; the ranker is written under the new model
version.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.errors import ConfigError, DataError
from karec.evaluate.quality import evaluate_run, read_run
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.distil.distillation import train_towers
from karec.learn.export.onnx_export import copy_as_version
from karec.learn.fit.checkpoint import best_weights
from karec.learn.fit.prepare import TrainingData, prepare_served
from karec.learn.run.run_folder import Clock, make_folder, recordings, run_facts, write_json
from karec.learn.run.tensorboard import EventFiles
from karec.learn.run.train import Material, TrainResult
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.settings import TrainSettings, read_run_settings
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model
from karec.samples.lists import DRAWS, LoggedLists, lists_of
from karec.samples.served_log import ServedLog, read_served_log
from karec.samples.soft_labels import SoftLabels, read_teacher_log, soft_labels_of
from karec.times import Progress

TAUGHT = ("user_tower.onnx", "item_tower.onnx")
SIZES = ("kind", "matching", "hidden", "vector")  # of towers that begin from others' weights


@dataclass(frozen=True)
class ServedRun:
    """The run ``folder`` whose ranker served, and what it was trained with."""

    folder: Path
    facts: dict[str, Any]
    settings: TrainSettings

    @classmethod
    def read(cls, folder: Path) -> ServedRun:
        """Raises DataError when ``folder`` is no run folder."""
        facts = read_run(folder)
        return cls(folder, facts, read_run_settings(folder, facts))

    @property
    def towers(self) -> Path:
        """The checkpoint of the towers that serve."""
        return self.folder / "checkpoints" / "towers.pt"


def train_from_log(
    dataset: Dataset,
    run: ServedRun,
    log: Path,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    *,
    version: int | None = None,
    answers: Impressions | None = None,
    resume: bool = False,
    evaluated: bool = True,
    first: Material | None = None,
) -> TrainResult:
    """Towers taught by the served ``log`` into the run folder ``out``, then quality on the test days, if
    ``evaluated``.

    ``version``: rows of that model version alone teach. ``answers``: what happened to served feeds, where the
    dataset does not hold it. ``first``: what the training of ``run`` on this dataset left, where it has just
    ended. Before anything is trained, ConfigError names a setting in which the towers would differ from the
    run's, DataError data of other tasks, LogSchemaError a log that cannot teach (``read_served_log``),
    CheckpointError towers that are missing.
    """
    settings = _with_models_of(run, _encoded_as(run, settings).resolve(dataset))
    _check_run(dataset, run, settings, out)
    check_training(dataset, settings)
    ranker = OnnxModel(run.folder / "ranker.onnx")
    served = read_served_log(log, ranker, dataset.tasks, dataset.snapshot, dataset.valid_until_ms, version)
    start = best_weights(run.towers)
    make_folder(out, resume)
    rows = crc32(
        np.ascontiguousarray(served.log.fused).data, crc32(np.ascontiguousarray(served.log.item_id).data)
    )
    content = (
        f"{fingerprint(dataset, settings)}, from {ranker.fingerprint} and served rows {len(served.log)} "
        f"{rows:08x}"
    )
    events = EventFiles(out / "tensorboard") if settings.run.tensorboard else None
    recording_of = recordings(out, settings, content, events)
    clock = Clock()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(settings.run.threads or torch.get_num_threads())
        if events is not None:
            stack.enter_context(events)
        _copy_models(run.folder, out, settings.model_version)
        encoder, earlier = Encoder.load(out / "encoder.npz"), None if first is None else first.prepared
        prepared = prepare_served(dataset, encoder, settings, served, answers, progress, earlier)
        clock.lap("examples")
        soft, lists = _taught(prepared, served, run.folder / "rank_log", settings, first)
        clock.lap("rank log")
        recording = recording_of("towers")
        state, heads = train_towers(prepared, soft, lists, settings, out, progress, recording, start)
        runs = {"towers": state}
        clock.lap("towers")
        facts = run_facts(dataset, settings, prepared.encoder, heads, runs, served.notes)
        write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress) if evaluated else {}
        clock.lap("evaluation")
    write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    epochs = {name: state.history for name, state in runs.items()}
    return TrainResult(out, quality, epochs, clock.seconds, served.notes)


def _check_run(dataset: Dataset, run: ServedRun, settings: TrainSettings, out: Path) -> None:
    if out.resolve() == run.folder.resolve():
        raise ConfigError(
            f"{out} is the run that served: towers that learn from its log need a folder of their own"
        )
    if tuple(run.facts["tasks"]) != tuple(dataset.tasks):
        raise DataError(
            f"{run.folder} learned the tasks {run.facts['tasks']}, {dataset.name} has {list(dataset.tasks)}"
        )
    for key, value in _shape(settings).items():
        theirs = _shape(run.settings)[key]
        if value != theirs:
            raise ConfigError(
                f"{key} = {value!r}, and the towers of {run.folder} were trained with {theirs!r}"
            )


def _shape(settings: TrainSettings) -> dict[str, Any]:
    """What towers must have in common with those whose weights they begin from, by key."""
    features = {f"features.{key}": value for key, value in settings.features.to_dict().items()}
    return features | {f"towers.{key}": getattr(settings.towers, key) for key in SIZES}


def _encoded_as(run: ServedRun, settings: TrainSettings) -> TrainSettings:
    """``settings`` that need as many rows of a value as the encoder of ``run`` did, where they leave that to
    the data, which have grown since."""
    wanted = settings.features.min_count or run.settings.features.min_count
    return settings.replace(features={"min_count": wanted})


def _with_models_of(run: ServedRun, settings: TrainSettings) -> TrainSettings:
    """``settings`` that say of ranker and baselines, which stay, how ``run`` trained them."""
    baselines = run.settings.evaluation.baselines
    return settings.replace(ranker=run.settings.ranker, evaluation={"baselines": baselines})


def _copy_models(run: Path, out: Path, model_version: int) -> None:
    """What stays: encoder, baselines, the first log, and every model but the towers, under the new
    version."""
    shutil.copyfile(run / "encoder.npz", out / "encoder.npz")
    for path in run.glob("*.onnx"):
        if path.name.startswith("baseline_"):
            copy_model(path, out / path.name)
        elif path.name not in TAUGHT and not path.name.endswith(".int8.onnx"):
            copy_as_version(path, out / path.name, model_version)
    shutil.rmtree(out / "rank_log", ignore_errors=True)
    shutil.copytree(run / "rank_log", out / "rank_log")


def _taught(
    prepared: TrainingData, served: ServedLog, folder: Path, settings: TrainSettings, first: Material | None
) -> tuple[SoftLabels, LoggedLists | None]:
    """Soft labels and lists of both logs. What the served one says of an exposure comes first; its pools are
    what prerank chooses from, those of the first log in ``folder`` are of many more users and moments.
    """
    train, distil = prepared.train, settings.distil
    size, seed, own = distil.list_works, settings.seed, soft_labels_of(train.exposures, served.log)
    if first is not None:
        soft, lists = first.soft.followed_by_unknown(len(train) - len(first.prepared.train)), first.lists
    else:
        log = read_teacher_log(folder, prepared.encoder.tasks)
        soft = soft_labels_of(train.exposures, log)
        lists = lists_of(train, log, size, seed) if distil.needs_lists else None
    if lists is None:
        return own.or_else(soft), None
    return own.or_else(soft), LoggedLists.joined([lists_of(train, served.log, size, seed, DRAWS), lists])
