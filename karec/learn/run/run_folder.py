"""The run folder during a training: start or resume, checkpoints, content of run.json."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import RUN_FORMAT, TESTED
from karec.features.encoder import Encoder
from karec.files import remove_folder, write_text_aside
from karec.learn.distributed.ranks import broadcast, is_connected, rank
from karec.learn.fit.checkpoint import Checkpoint, CheckpointError
from karec.learn.fit.loop import FitState
from karec.learn.fit.rank_checkpoint import RankCheckpoint
from karec.learn.fit.row_stream import ROWS
from karec.learn.settings.from_data import Rule
from karec.learn.settings.settings import TrainSettings


def make_folder(out: Path, resume: bool) -> None:
    """Creates ``out``. Without ``resume``, removes what an earlier run wrote apart from its models.

    After a kill, no results of other models are left next to half of a run.
    """
    if resume and rank() == 0 and not (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(
            f"{out}: no run to resume. Start without --resume, or name the folder of the interrupted run."
        )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in ("checkpoints", TESTED, ROWS):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("run.json", "quality.json", "pages.json"):
            (out / name).unlink(missing_ok=True)


def remove_rows(run: Path) -> None:
    """Removes the training rows on disk, which nothing needs after a training."""
    shutil.rmtree(run / ROWS, ignore_errors=True)


def remove_runs(out: Path) -> list[str]:
    """Removes ``out``/run-VERSION of unpublished older versions. Returns a line per failure.

    ``out``/run, the first training, stays.
    """
    current, failures = (out / "bundles" / "current").resolve().name, []
    for folder in out.glob("run-*"):
        version = folder.name.removeprefix("run-")
        bundle = f"v{int(version):010d}" if version.isdecimal() else current
        if bundle < current and not (out / "bundles" / bundle).exists():
            try:
                remove_folder(folder)
            except OSError as error:
                failures.append(f"{folder}: not removed, but its version is no longer published: {error}")
    return failures


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of the models of one run. ``facts`` identify the training."""

    run: Path
    every_steps: int
    facts: str

    def make(self, name: str) -> Checkpoint | RankCheckpoint:
        """Returns a file, or on ranks a folder next to the run of rank 0. All ranks call together."""
        folder, facts = self.run / "checkpoints", f"{name} of {self.facts}"
        if not is_connected():
            return Checkpoint(folder / f"{name}.pt", self.every_steps, facts)
        return RankCheckpoint(broadcast(folder.resolve()) / name, self.every_steps, facts)


def run_facts(
    dataset: Dataset,
    settings: TrainSettings,
    encoder: Encoder,
    heads: Mapping[str, Mapping[str, float]],
    runs: Mapping[str, FitState],
    notes: Sequence[str] = (),
    *,
    recipe: Sequence[Rule] = (),
    trained_until_ms: int | None = None,
    ranked_by: str = "ranker",
) -> dict[str, Any]:
    """Returns the content of run.json except the seconds.

    Args
      notes              added to those of the data
      recipe             settings that the data decided
      trained_until_ms   the models learned from no later impression; None: validation is the last
      ranked_by          "ranker", "towers" or "als": the model that orders pages
    """
    return {
        "format": RUN_FORMAT,
        "settings": settings.to_dict(),
        "tasks": dataset.tasks,
        "towers": heads,
        "data": {
            "name": dataset.name,
            "notes": [*dataset.notes, *notes],
            "columns": dataset.columns,
            "categories": dataset.snapshot.labels,
        },
        "inputs": encoder.descriptions,
        "epochs": {name: [asdict(epoch) for epoch in state.history] for name, state in runs.items()},
        "curves": {name: state.curve for name, state in runs.items()},
        "recipe": [rule._asdict() for rule in recipe],
        "learned_until_ms": dataset.train_until_ms,
        "trained_until_ms": dataset.valid_until_ms if trained_until_ms is None else trained_until_ms,
        "ranked_by": ranked_by,
    }


def write_json(path: Path, facts: dict[str, Any]) -> None:
    write_text_aside(path, json.dumps(facts, indent=1))


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
