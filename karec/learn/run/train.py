"""Training, step by step: examples → ranker → its log → towers that learn from the log → models for serving.

The run folder afterwards: encoder.npz, ranker.onnx, user_tower.onnx, item_tower.onnx, baseline_<name>.onnx, rank_log/,
checkpoints/, tensorboard/ where the settings want it, run.json (settings, model version, the towers' scales and biases,
epochs and curves, seconds) and quality.json. A run that was killed goes on from its checkpoints and ends with the same
models.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from karec._clock import Progress
from karec.evaluate.quality import evaluate_run
from karec.learn.distil.towers import train_towers
from karec.learn.run.checkpoint import Checkpoint, CheckpointError
from karec.learn.run.fitting import Epoch, Progressed
from karec.learn.run.prepare import Prepared, prepare
from karec.learn.run.rankers import train_ranker
from karec.learn.run.tensorboard import EventFiles
from karec.learn.settings.check import check_settings, fingerprint
from karec.learn.settings.train import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.platform.dataset import Dataset
from karec.rank.fusion import Fusion
from karec.training_data.lists import read_lists
from karec.training_data.replay import write_rank_log, write_shadow_log
from karec.training_data.soft_labels import read_soft_labels


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What training left: the run ``folder``, ``quality`` on the test days, the epochs and seconds of each step."""

    folder: Path
    quality: dict[str, Any]
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def train_all(
    dataset: Dataset, settings: TrainSettings, out: Path, progress: Progress | None = None, resume: bool = False
) -> TrainResult:
    """Every step into the run folder ``out``, then quality on the test days.

    What an earlier run left there is replaced; with ``resume`` its checkpoints are gone on from, and refused by
    CheckpointError where they are of other settings or other data, or where there never was a run. Before anything is
    trained, ConfigError names a setting that these data or this machine cannot follow, and ValueError a label that is
    neither 0 nor 1.
    """
    check_settings(dataset, settings)
    fusion = Fusion(settings.fusion)
    events = EventFiles(out / "tensorboard") if settings.tensorboard else None
    if resume and not (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} holds no run to go on with: begin one without resume, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for left in ("checkpoints", "tensorboard"):
            shutil.rmtree(out / left, ignore_errors=True)
    kept = partial(_checkpoint, out, settings, fingerprint(dataset, settings), events)
    clock = _Clock()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        if events is not None:
            stack.enter_context(events)
        prepared = prepare(dataset, settings, out, progress)
        clock.lap("examples")
        runs: dict[str, Progressed] = {
            settings.ranker: train_ranker(
                settings.ranker, prepared, settings, out / "ranker.onnx", progress, kept("ranker")
            )
        }
        clock.lap("ranker")
        for name in settings.baselines:
            if name != settings.ranker:
                path = out / f"baseline_{name}.onnx"
                runs[name] = train_ranker(name, prepared, settings, path, progress, kept(f"baseline_{name}"))
        clock.lap("baselines")
        _write_first_log(prepared, settings, fusion, out, progress)
        clock.lap("rank log")
        soft = read_soft_labels(prepared.train.exposures, out / "rank_log", dataset.tasks)
        lists = None
        if settings.needs_lists:
            lists = read_lists(prepared.train, out / "rank_log", dataset.tasks, settings.list_works, settings.seed)
        rounds, heads = train_towers(prepared, soft, lists, settings, out, progress, kept)
        runs |= {"towers" if not at else f"towers_{at}": run for at, run in enumerate(rounds)}
        clock.lap("towers")
        facts = {"settings": asdict(settings), "tasks": dataset.tasks, "towers": heads}
        facts |= {"epochs": {name: [asdict(epoch) for epoch in run.history] for name, run in runs.items()}}
        facts |= {"curves": {name: run.curve for name, run in runs.items()}}
        _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
        quality = evaluate_run(dataset, out, progress)
        clock.lap("evaluation")
    _write_json(out / "run.json", {**facts, "seconds": clock.seconds})
    return TrainResult(out, quality, {name: run.history for name, run in runs.items()}, clock.seconds)


def _write_first_log(
    prepared: Prepared, settings: TrainSettings, fusion: Fusion, out: Path, progress: Progress | None
) -> None:
    log = out / "rank_log"
    shutil.rmtree(log, ignore_errors=True)
    ranker = OnnxModel(out / "ranker.onnx", threads=settings.threads)
    write_rank_log(prepared.train, ranker, fusion, log, progress)
    if settings.needs_lists:
        write_shadow_log(prepared.train, ranker, fusion, log, **shadow_drawn(settings), progress=progress)


def shadow_drawn(settings: TrainSettings) -> dict[str, Any]:
    """What ``write_shadow_log`` draws: which share of requests, how many at most, works in a pool, seed."""
    return {
        "share": settings.shadow_share,
        "most": settings.shadow_requests,
        "works": settings.shadow_works,
        "seed": settings.seed,
    }


def _checkpoint(out: Path, settings: TrainSettings, facts: str, events: EventFiles | None, name: str) -> Checkpoint:
    watch = None if events is None else events.of(name)
    return Checkpoint(out / "checkpoints" / f"{name}.pt", settings.checkpoint_steps, f"{name} of {facts}", watch)


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    aside = path.with_suffix(".writing")
    aside.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    aside.replace(path)


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
