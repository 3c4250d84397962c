"""A training: examples → ranker → its log → towers that learn from the log → models for serving → their
quality.

The run folder afterwards: encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, recall_user_tower.onnx
and recall_item_tower.onnx where the settings want them, baseline_<name>.onnx, rank_log/, checkpoints/,
tensorboard/ where the settings want it, run.json (settings, model version, the data's notes, the towers'
scales and biases, epochs and curves, seconds) and quality.json. A run that was killed goes on from its
checkpoints and ends with the same models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import evaluate_run
from karec.learn._torch import torch
from karec.learn.distil.distillation import train_towers
from karec.learn.distil.recall_towers import NAMES, train_recall_towers
from karec.learn.fit.loop import Epoch, FitState, Recording
from karec.learn.fit.prepare import TrainingData, prepare
from karec.learn.run.baselines import Baselines, second_process_threads, train_baselines
from karec.learn.run.first_log import write_first_log
from karec.learn.run.preflight import check_run
from karec.learn.run.rankers import train_ranker
from karec.learn.run.run_folder import Clock, make_folder, recordings, run_facts, write_json
from karec.learn.run.search import Choice
from karec.learn.run.served_pools import named, read_served_pools, with_served_pools
from karec.learn.run.tensorboard import EventFiles
from karec.learn.second_process import SecondProcess
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.settings import TrainSettings
from karec.samples.lists import LoggedLists, read_lists
from karec.samples.served_log import ServedLog
from karec.samples.soft_labels import SoftLabels, read_soft_labels
from karec.times import Progress


@dataclass(frozen=True, eq=False)
class Material:
    """What the towers of a first training learned from: examples, and the first log's soft labels and
    lists."""

    prepared: TrainingData
    soft: SoftLabels
    lists: LoggedLists | None


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training leaves: the run ``folder``, ``quality`` on the test days, the epochs and seconds of
    each step, ``notes`` on what it learned from, beside the data's own, and ``peak_gib``: memory of two
    processes together, at most, where baselines were trained beside; else 0. ``material``: what a second
    training need not make again.
    """

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    peak_gib: float = 0.0
    material: Material | None = None


def train_all(
    dataset: Dataset,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    choice: Choice | None = None,
    *,
    evaluated: bool = True,
    log: Path | None = None,
    log_version: int | None = None,
) -> TrainResult:
    """Every step into the run folder ``out``, then quality on the test days, if ``evaluated``.

    What an earlier run left there is replaced; with ``resume`` its checkpoints are gone on from, and refused
    by CheckpointError where they are of other settings or other data, or where there never was a run.
    ``choice``: how the settings were chosen, for run.json. ``log``: a service's rank log, whose pools the new
    ranker orders anew for the towers (``served_pools``), those of ``log_version`` alone where it is told.
    Before anything is trained, ConfigError names a setting that these data or this machine cannot follow,
    DataError works without counters, ValueError a label that is neither 0 nor 1, LogSchemaError or DataError
    a ``log`` that cannot teach, and ``check_run`` refuses what could not end.
    """
    settings = settings.resolve(dataset)
    check_training(dataset, settings)
    check_run(dataset, settings)
    served = None if log is None else read_served_pools(log, dataset, settings, log_version)
    events = EventFiles(out / "tensorboard") if settings.run.tensorboard else None
    make_folder(out, resume)
    trained_of = fingerprint(dataset, settings) + ("" if served is None else f", {named(served)}")
    recording_of = recordings(out, settings, trained_of, events)
    clock = Clock()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        threads = settings.run.threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        if events is not None:
            stack.enter_context(events)
        prepared = prepare(dataset, settings, out, progress)
        notes = (*prepared.notes(settings.features.min_count), *(() if served is None else served.notes))
        clock.lap("examples")
        second, threads_each = None, second_process_threads(settings, len(prepared.train))
        if (
            threads_each
        ):  # from the start: a core that waits for a longer training than its own trains them meanwhile
            work = Baselines(dataset, settings, out, trained_of, threads_each)
            second = stack.enter_context(SecondProcess(work, progress))
        kind: str = settings.ranker.kind
        state = train_ranker(kind, prepared, settings, out / "ranker.onnx", progress, recording_of("ranker"))
        runs = {"mmoe" if kind == "both" else kind: state}
        clock.lap("ranker")
        if second is None:
            runs |= train_baselines(prepared, settings, out, recording_of, progress)
            clock.lap("baselines")
        taught, soft, lists = _logged(dataset, prepared, served, settings, out, progress)
        clock.lap("rank log")
        if threads_each:
            torch.set_num_threads(threads_each)
        runs["towers"], heads = train_towers(
            taught, soft, lists, settings, out, progress, recording_of("towers")
        )
        clock.lap("towers")
        runs |= _train_recall(prepared, settings, out, recording_of, progress)
        clock.lap("recall towers")
        if second is not None:
            runs |= second.result()
            clock.lap("waiting for baselines")
        torch.set_num_threads(threads)
        facts = run_facts(dataset, settings, prepared.encoder, heads, runs, notes)
        facts |= {} if choice is None else {"choice": choice.as_dict()}
        write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress) if evaluated else {}
        clock.lap("evaluation")
    write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    peak = 0.0 if second is None else second.peak_gib
    return TrainResult(
        out,
        quality,
        {name: each.history for name, each in runs.items()},
        clock.seconds,
        notes,
        peak,
        Material(prepared, soft, lists),
    )


def _train_recall(
    prepared: TrainingData,
    settings: TrainSettings,
    out: Path,
    recording_of: Callable[[str], Recording],
    progress: Progress | None,
) -> dict[str, FitState]:
    """The recall towers, where the settings want them; else those of an earlier run in ``out`` go."""
    if settings.recall.on:
        return {
            "recall_towers": train_recall_towers(
                prepared, settings, out, progress, recording_of("recall_towers")
            )
        }
    for name in NAMES.values():
        (out / f"{name}.onnx").unlink(missing_ok=True)
    return {}


def _logged(
    dataset: Dataset,
    prepared: TrainingData,
    served: ServedLog | None,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None,
) -> tuple[TrainingData, SoftLabels, LoggedLists | None]:
    """What towers learn from: the ranker's log over the training days, written to out/rank_log and read back,
    and the pools of ``served``, where there are some.
    """
    log, train, tasks, distil = out / "rank_log", prepared.train, prepared.encoder.tasks, settings.distil
    shutil.rmtree(log, ignore_errors=True)
    write_first_log(train, out / "ranker.onnx", settings, log, progress, pools=distil.needs_lists)
    soft = read_soft_labels(train.exposures, log, tasks)
    lists = read_lists(train, log, tasks, distil.list_works, settings.seed) if distil.needs_lists else None
    if served is None or lists is None:
        return prepared, soft, lists
    return with_served_pools(dataset, prepared, soft, lists, served, settings, out, progress)
