"""A training: examples → ranker → its log → towers that learn from the log → models for serving → their quality.

The run folder afterwards: encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, baseline_<name>.onnx, rank_log/,
checkpoints/, tensorboard/ where the settings want it, run.json (settings, model version, the data's notes, the towers'
scales and biases, epochs and curves, seconds) and quality.json. A run that was killed goes on from its checkpoints and
ends with the same models.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from karec._clock import Progress
from karec._files import write_text_aside
from karec.evaluate.quality import RUN_FORMAT, evaluate_run
from karec.learn._torch import torch
from karec.learn.distil.distillation import train_towers
from karec.learn.fit.checkpoint import Checkpoint, CheckpointError
from karec.learn.fit.fitting import Recording
from karec.learn.fit.prepare import Prepared, prepare
from karec.learn.fit.state import Epoch, FitState
from karec.learn.run.choose import Choice
from karec.learn.run.first_log import write_first_log
from karec.learn.run.rankers import train_ranker
from karec.learn.run.tensorboard import EventFiles
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.train import TrainSettings
from karec.platform.dataset import Dataset
from karec.training_data.lists import LoggedLists, read_lists
from karec.training_data.soft_labels import SoftLabels, read_soft_labels


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training leaves: the run ``folder``, ``quality`` on the test days, the epochs and seconds of each step."""

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def train_all(
    dataset: Dataset,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    choice: Choice | None = None,
) -> TrainResult:
    """Every step into the run folder ``out``, then quality on the test days.

    What an earlier run left there is replaced; with ``resume`` its checkpoints are gone on from, and refused by
    CheckpointError where they are of other settings or other data, or where there never was a run. ``choice``: how the
    settings were chosen, for run.json. Before anything is
    trained, ConfigError names a setting that these data or this machine cannot follow, DataError works without
    counters, and ValueError a label that is neither 0 nor 1.
    """
    settings = settings.of(dataset)
    check_training(dataset, settings)
    events = EventFiles(out / "tensorboard") if settings.run.tensorboard else None
    _make_folder(out, resume)
    recording_of = _recordings(out, settings, fingerprint(dataset, settings), events)
    clock = _Clock()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(settings.run.threads or torch.get_num_threads())
        if events is not None:
            stack.enter_context(events)
        prepared = prepare(dataset, settings, out, progress)
        clock.lap("examples")
        runs = _train_rankers(prepared, settings, out, recording_of, clock, progress)
        soft, lists = _logged(prepared, settings, out, progress)
        clock.lap("rank log")
        rounds, heads = train_towers(prepared, soft, lists, settings, out, progress, recording_of)
        runs |= {"towers" if not at else f"towers_{at}": state for at, state in enumerate(rounds)}
        clock.lap("towers")
        facts = {"format": RUN_FORMAT, "settings": asdict(settings), "tasks": dataset.tasks, "towers": heads}
        facts |= {"data": {"name": dataset.name, "notes": dataset.notes}}
        facts |= {} if choice is None else {"choice": choice.as_dict()}
        facts |= {"epochs": {name: [asdict(epoch) for epoch in state.history] for name, state in runs.items()}}
        facts |= {"curves": {name: state.curve for name, state in runs.items()}}
        _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress)
        clock.lap("evaluation")
    _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    return TrainResult(out, quality, {name: state.history for name, state in runs.items()}, clock.seconds)


def _make_folder(out: Path, resume: bool) -> None:
    """``out`` is there; without ``resume``, no checkpoint of an earlier run is."""
    if resume and not (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} holds no run to go on with: begin one without resume, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for left in ("checkpoints", "tensorboard"):
            shutil.rmtree(out / left, ignore_errors=True)


def _recordings(
    out: Path, settings: TrainSettings, facts: str, events: EventFiles | None
) -> Callable[[str], Recording]:
    """Where the training of a name is recorded: out/checkpoints/NAME.pt, and TensorBoard's event files."""

    def recording_of(name: str) -> Recording:
        path, every = out / "checkpoints" / f"{name}.pt", settings.run.checkpoint_steps
        return Recording(Checkpoint(path, every, f"{name} of {facts}"), None if events is None else events.of(name))

    return recording_of


def _train_rankers(
    prepared: Prepared,
    settings: TrainSettings,
    out: Path,
    recording_of: Callable[[str], Recording],
    clock: _Clock,
    progress: Progress | None,
) -> dict[str, FitState]:
    """The ranker, then the baselines, each exported to ``out``; how each training went, by kind."""
    kind: str = settings.ranker.kind
    runs = {kind: train_ranker(kind, prepared, settings, out / "ranker.onnx", progress, recording_of("ranker"))}
    clock.lap("ranker")
    for name in settings.evaluation.baselines:
        if name != kind:
            path, recording = out / f"baseline_{name}.onnx", recording_of(f"baseline_{name}")
            runs[name] = train_ranker(name, prepared, settings, path, progress, recording)
    clock.lap("baselines")
    return runs


def _logged(
    prepared: Prepared, settings: TrainSettings, out: Path, progress: Progress | None
) -> tuple[SoftLabels, LoggedLists | None]:
    """The ranker's log over the training days, written to out/rank_log and read back."""
    log, train, tasks, distil = out / "rank_log", prepared.train, prepared.encoder.tasks, settings.distil
    shutil.rmtree(log, ignore_errors=True)
    write_first_log(train, out / "ranker.onnx", settings, log, progress, pools=distil.needs_lists)
    soft = read_soft_labels(train.exposures, log, tasks)
    return soft, read_lists(train, log, tasks, distil.list_works, settings.seed) if distil.needs_lists else None


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    write_text_aside(path, json.dumps(facts, indent=1))


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
