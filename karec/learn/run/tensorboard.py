"""The curves of a run's trainings, as event files that TensorBoard reads while they grow: one folder a
training.

When a training begins, or goes on from a checkpoint, its folder is emptied and the whole curve until there is
written again: no step stands twice and none is lost, whatever a kill left behind. In the end run.json holds
the same numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from karec.errors import MissingExtra
from karec.learn.fit.loop import FitState

LOSS, EPOCH_LOSS, EPOCH_SCORE = "loss", "epoch/loss", "epoch/score"


class EventFiles:
    """``folder/<training>/events.out.tfevents.…``; a context, which closes the files.

    Scalars: ``loss`` by step, as the training's curve has it; ``epoch/loss`` (mean) and ``epoch/score``
    (validation) by epoch, the first of which is 1. Raises MissingExtra without the package tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        _summary_writer()
        self.folder = folder
        self._opened: list[_Events] = []

    def of(self, training: str) -> _Events:
        """What writes the curve of ``training``, to be called with its state: ``Recording.watch``."""
        self._opened.append(_Events(self.folder / training))
        return self._opened[-1]

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for events in self._opened:
            events.close()


class _Events:
    """The event files of one training; a call writes what its state has that is not yet written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._points = self._epochs = 0

    def __call__(self, at: FitState) -> None:
        if self._writer is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = _summary_writer()(str(self._folder))
        for step, loss in at.curve[self._points :]:
            self._writer.add_scalar(LOSS, loss, step)
        for epoch in range(self._epochs, len(at.history)):
            self._writer.add_scalar(EPOCH_LOSS, at.history[epoch].loss, epoch + 1)
            self._writer.add_scalar(EPOCH_SCORE, at.history[epoch].score, epoch + 1)
        self._points, self._epochs = len(at.curve), len(at.history)
        self._writer.flush()  # a training that diverges or is killed leaves its whole curve

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("tensorboard", "tensorboard", "run.tensorboard = true") from error
    return SummaryWriter
