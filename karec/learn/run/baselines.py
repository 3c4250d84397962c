"""Baselines, trained by a second process beside everything else: they need the encoded examples alone.

They are those that a process alone would train with as many threads. The process encodes the examples again
with the run's encoder, and writes models and checkpoints where a training in turn would.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from karec.catalog.dataset import Dataset
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.loop import FitState, Recording
from karec.learn.fit.prepare import TrainingData, chosen_device, encode
from karec.learn.run.hard_towers import train_hard_towers
from karec.learn.run.mixed_ranker import PARTS
from karec.learn.run.rankers import train_ranker
from karec.learn.run.run_folder import recordings
from karec.learn.run.tensorboard import EventFiles
from karec.learn.second_process import can_use_second_process
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress

FEWEST_ROWS = 50_000  # training rows; of fewer, a process takes longer to start than it saves


def baselines_of(settings: TrainSettings) -> tuple[str, ...]:
    """The baselines to train: one that is a part of the ranker is trained once, as that."""
    kind = settings.ranker.kind
    there = PARTS if kind == "both" else (kind,)
    return tuple(name for name in settings.evaluation.baselines if name not in there)


def second_process_threads(settings: TrainSettings, n_rows: int) -> int:
    """Returns the number of threads of each process if a second one trains the baselines, else 0.

    0 on a GPU, with one thread, few rows or no hard towers, and if no second process can be used.
    """
    threads = settings.run.threads or torch.get_num_threads()
    wanted = "hard" in settings.evaluation.baselines and n_rows >= FEWEST_ROWS
    return threads // 2 if wanted and chosen_device(settings.run) == "cpu" and can_use_second_process() else 0


def train_baselines(
    prepared: TrainingData,
    settings: TrainSettings,
    out: Path,
    recording_of: Callable[[str], Recording],
    progress: Progress | None = None,
) -> dict[str, FitState]:
    """Each of ``baselines_of`` the settings, exported to ``out``: how its training went, by its name."""
    runs = {}
    for name in baselines_of(settings):
        path, recording = out / f"baseline_{name}.onnx", recording_of(f"baseline_{name}")
        if name == "hard":
            runs[name] = train_hard_towers(prepared, settings, path, progress, recording)
        else:
            runs[name] = train_ranker(name, prepared, settings, path, progress, recording)
    return runs


@dataclass(frozen=True)
class Baselines:
    """The work of the second process: the baselines of a run, into ``out``, where the run's encoder lies.

    ``facts``: what the checkpoints are of.
    """

    dataset: Dataset
    settings: TrainSettings
    out: Path
    facts: str
    threads: int

    def run(self, progress: Progress) -> dict[str, FitState]:
        torch.set_num_threads(self.threads)
        prepared = encode(Encoder.load(self.out / "encoder.npz"), self.dataset, self.settings)
        with ExitStack() as stack:
            wanted = self.settings.run.tensorboard
            events = stack.enter_context(EventFiles(self.out / "tensorboard")) if wanted else None
            recording_of = recordings(self.out, self.settings, self.facts, events)
            return train_baselines(prepared, self.settings, self.out, recording_of, progress)
