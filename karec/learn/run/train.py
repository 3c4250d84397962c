"""A training: examples, ranker, rank log, towers that learn from the log, export, quality.

The run folder then has encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, baseline_<name>.onnx,
rank_log/, checkpoints/, run.json (settings, model version, notes of the data, scales and biases of the
towers, epochs and curves, seconds) and quality.json. A killed run resumes from its checkpoints and ends with
the same models.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import evaluate_run
from karec.learn._torch import torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.fit.loop import Epoch
from karec.learn.fit.prepare import TrainingData, prepare
from karec.learn.run.first_log import write_first_log
from karec.learn.run.mixed_ranker import PARTS
from karec.learn.run.rankers import train_ranker
from karec.learn.run.run_folder import Checkpoints, Clock, make_folder, run_facts, write_json
from karec.learn.run.search import Choice
from karec.learn.run.served_pools import describe_pools, read_served_pools, with_served_pools
from karec.learn.settings.check import check_run, fingerprint
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import LogFolder
from karec.samples.lists import LoggedLists, read_lists
from karec.samples.served_log import ServedLog
from karec.samples.soft_labels import SoftLabels, read_soft_labels
from karec.times import Progress


@dataclass(frozen=True, eq=False)
class TrainResult:
    """Result of a training.

    folder         the run folder
    quality        on the test days
    epochs         by step
    seconds        by step
    notes          on the training, in addition to those of the data
    """

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def train(
    dataset: Dataset,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    choice: Choice | None = None,
    *,
    evaluate: bool = True,
    log: LogFolder | None = None,
    log_version: int | None = None,
) -> TrainResult:
    """Trains everything into the run folder ``out`` and measures quality on the test days.

    Files of an earlier run are replaced. With ``resume``, training continues from its checkpoints.

    Args
      choice        how the settings were chosen, for run.json
      evaluate      False: skip the quality measurement
      log           rank log of a service; the new ranker scores its pools for the towers (``served_pools``)
      log_version   use only log rows of this model version

    Raises before training
      ConfigError, DataError, MissingExtra   the errors of ``check_run``
      ValueError                             a label that is neither 0 nor 1
      LogSchemaError, DataError              a ``log`` without usable rows
      CheckpointError                        with ``resume``: other settings or data, or no run
    """
    settings = settings.resolve(dataset)
    check_run(dataset, settings)
    served = None if log is None else read_served_pools(log, dataset, settings, log_version)
    make_folder(out, resume)
    identity = fingerprint(dataset, settings) + ("" if served is None else f", {describe_pools(served)}")
    checkpoints = Checkpoints(out, settings.run.checkpoint_steps, identity)
    clock = Clock()
    with torch_threads(settings.run.threads):
        prepared = prepare(dataset, settings, out, progress)
        notes = (*prepared.notes(settings.features.min_count), *(() if served is None else served.notes))
        clock.lap("examples")
        kind: str = settings.ranker.kind
        state = train_ranker(
            kind, prepared, settings, out / "ranker.onnx", progress, checkpoints.make("ranker")
        )
        runs = {"mmoe" if kind == "both" else kind: state}
        clock.lap("ranker")
        for name in _baseline_names(settings):
            path, checkpoint = out / f"baseline_{name}.onnx", checkpoints.make(f"baseline_{name}")
            runs[name] = train_ranker(name, prepared, settings, path, progress, checkpoint)
        clock.lap("baselines")
        tower_data, soft, lists = _write_and_read_log(dataset, prepared, served, settings, out, progress)
        clock.lap("rank log")
        runs["towers"], heads = train_towers(
            tower_data, soft, lists, settings, out, progress, checkpoints.make("towers")
        )
        clock.lap("towers")
        facts = run_facts(dataset, settings, prepared.encoder, heads, runs, notes)
        facts |= {} if choice is None else {"choice": choice.to_dict()}
        write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress) if evaluate else {}
        clock.lap("evaluation")
    write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    epochs = {name: state.history for name, state in runs.items()}
    return TrainResult(out, quality, epochs, clock.seconds, notes)


def _baseline_names(settings: TrainSettings) -> tuple[str, ...]:
    """Returns the baselines that are not the ranker or a part of it."""
    kind = settings.ranker.kind
    parts = PARTS if kind == "both" else (kind,)
    return tuple(name for name in settings.evaluation.baselines if name not in parts)


def _write_and_read_log(
    dataset: Dataset,
    prepared: TrainingData,
    served: ServedLog | None,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None,
) -> tuple[TrainingData, SoftLabels, LoggedLists | None]:
    """Writes the ranker's log of the training days to out/rank_log. Returns inputs of the towers' training.

    That includes the pools of ``served``, if there are any.
    """
    log, train, tasks, distil = out / "rank_log", prepared.train, prepared.encoder.tasks, settings.distil
    shutil.rmtree(log, ignore_errors=True)
    write_first_log(train, out / "ranker.onnx", settings, log, progress, pools=distil.needs_lists)
    soft = read_soft_labels(train.exposures, log, tasks)
    lists = read_lists(train, log, tasks, distil.list_works, settings.seed) if distil.needs_lists else None
    if served is None or lists is None:
        return prepared, soft, lists
    return with_served_pools(dataset, prepared, soft, lists, served, settings, out, progress)
