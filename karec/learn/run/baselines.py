"""Trains the baselines in a second process while this one trains ranker and towers.

They need only the encoded examples and equal those of a single process with the same number of threads. The
process encodes the examples again with the run's encoder and writes models and checkpoints to the usual
places.
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

MIN_PARALLEL_ROWS = 50_000  # training rows; with fewer, starting a process costs more time than it saves


def baseline_names(settings: TrainSettings) -> tuple[str, ...]:
    """Returns the baselines to train: those that are not the ranker or a part of it."""
    kind = settings.ranker.kind
    parts = PARTS if kind == "both" else (kind,)
    return tuple(name for name in settings.evaluation.baselines if name not in parts)


def parallel_threads(settings: TrainSettings, n_rows: int) -> int:
    """Returns the threads of each process if baselines are trained in parallel with the towers, else 0.

    They are trained one after the other on a GPU, on one thread, with few rows, without hard towers, or if no
    second process can run.
    """
    threads = settings.run.threads or torch.get_num_threads()
    is_worthwhile = "hard" in settings.evaluation.baselines and n_rows >= MIN_PARALLEL_ROWS
    return (
        threads // 2
        if is_worthwhile and chosen_device(settings.run) == "cpu" and can_use_second_process()
        else 0
    )


def train_baselines(
    prepared: TrainingData,
    settings: TrainSettings,
    out: Path,
    make_recording: Callable[[str], Recording],
    progress: Progress | None = None,
) -> dict[str, FitState]:
    """Trains and exports each of ``baseline_names``. Returns their states by name."""
    runs = {}
    for name in baseline_names(settings):
        path, recording = out / f"baseline_{name}.onnx", make_recording(f"baseline_{name}")
        if name == "hard":
            runs[name] = train_hard_towers(prepared, settings, path, progress, recording)
        else:
            runs[name] = train_ranker(name, prepared, settings, path, progress, recording)
    return runs


@dataclass(frozen=True)
class Baselines:
    """Work of the second process: trains a run's baselines into ``out``, which has the run's encoder.

    ``facts``: identifies the training in checkpoints.
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
            has_events = self.settings.run.tensorboard
            events = stack.enter_context(EventFiles(self.out / "tensorboard")) if has_events else None
            make_recording = recordings(self.out, self.settings, self.facts, events)
            return train_baselines(prepared, self.settings, self.out, make_recording, progress)
