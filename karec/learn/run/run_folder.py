"""A run folder while a training writes it: begun or gone on with, where trainings are recorded, what run.json
says."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import RUN_FORMAT
from karec.features.encoder import Encoder
from karec.files import remove_folder, write_text_aside
from karec.learn.fit.checkpoint import Checkpoint, CheckpointError
from karec.learn.fit.loop import FitState, Recording
from karec.learn.run.tensorboard import EventFiles
from karec.learn.settings.settings import TrainSettings


def make_folder(out: Path, resume: bool) -> None:
    """``out`` is there; without ``resume``, no checkpoint of an earlier run is."""
    if resume and not (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(
            f"{out} holds no run to go on with: begin one without resume, or name another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for left in ("checkpoints", "tensorboard"):
            shutil.rmtree(out / left, ignore_errors=True)


def remove_runs(out: Path) -> list[str]:
    """Remove the folders ``out``/run-VERSION of versions before the one in service whose bundles are gone;
    why some stay, a line each. ``out``/run, the first training, stays.
    """
    current, said = (out / "bundles" / "current").resolve().name, []
    for folder in out.glob("run-*"):
        version = folder.name.removeprefix("run-")
        bundle = f"v{int(version):010d}" if version.isdecimal() else current
        if bundle < current and not (out / "bundles" / bundle).exists():
            try:
                remove_folder(folder)
            except OSError as error:
                said.append(f"{folder} is of no version that is published, but stays: {error}")
    return said


def recordings(
    out: Path, settings: TrainSettings, facts: str, events: EventFiles | None
) -> Callable[[str], Recording]:
    """Where the training of a name is recorded: out/checkpoints/NAME.pt, and TensorBoard's event files."""

    def recording_of(name: str) -> Recording:
        path, every = out / "checkpoints" / f"{name}.pt", settings.run.checkpoint_steps
        return Recording(
            Checkpoint(path, every, f"{name} of {facts}"), None if events is None else events.of(name)
        )

    return recording_of


def run_facts(
    dataset: Dataset,
    settings: TrainSettings,
    encoder: Encoder,
    heads: Mapping[str, Mapping[str, float]],
    runs: Mapping[str, FitState],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What run.json says, but for the seconds; ``notes`` stand after the data's."""
    return {
        "format": RUN_FORMAT,
        "settings": settings.to_dict(),
        "tasks": dataset.tasks,
        "towers": heads,
        "data": {"name": dataset.name, "notes": [*dataset.notes, *notes], "columns": dataset.columns},
        "inputs": encoder.descriptions,
        "epochs": {name: [asdict(epoch) for epoch in state.history] for name, state in runs.items()},
        "curves": {name: state.curve for name, state in runs.items()},
    }


def write_json(path: Path, facts: dict[str, Any]) -> None:
    write_text_aside(path, json.dumps(facts, indent=1))


class Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
