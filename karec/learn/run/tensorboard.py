"""Training curves as TensorBoard event files that grow during training, one folder per training.

When a training starts or resumes, its folder is emptied and the whole curve so far is written again, so no
step is missing or duplicated after a kill. run.json has the same numbers at the end.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from karec.errors import MissingExtra
from karec.learn.fit.loop import FitState

LOSS, EPOCH_LOSS, EPOCH_SCORE = "loss", "epoch/loss", "epoch/score"


class EventFiles:
    """Context that writes ``folder/<training>/events.out.tfevents.…`` and closes the files.

    Scalars: ``loss`` by step, as in the training's curve; ``epoch/loss`` (mean) and ``epoch/score``
    (validation) by epoch, starting at 1. Raises MissingExtra without the package tensorboard.
    """

    def __init__(self, folder: Path) -> None:
        _summary_writer()
        self.folder = folder
        self._opened: list[_Events] = []

    def writer(self, training: str) -> _Events:
        """Returns a callback for ``Recording.on_progress`` that writes the curve of ``training``."""
        self._opened.append(_Events(self.folder / training))
        return self._opened[-1]

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for events in self._opened:
            events.close()


class _Events:
    """Event files of one training. A call writes the part of the state's curve that is not written yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._points = self._epochs = 0

    def __call__(self, state: FitState) -> None:
        if self._writer is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = _summary_writer()(str(self._folder))
        for step, loss in state.curve[self._points :]:
            self._writer.add_scalar(LOSS, loss, step)
        for epoch in range(self._epochs, len(state.history)):
            self._writer.add_scalar(EPOCH_LOSS, state.history[epoch].loss, epoch + 1)
            self._writer.add_scalar(EPOCH_SCORE, state.history[epoch].score, epoch + 1)
        self._points, self._epochs = len(state.curve), len(state.history)
        self._writer.flush()  # keeps the curve of a training that diverges or is killed

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra("tensorboard", "tensorboard", "run.tensorboard = true") from error
    return SummaryWriter
