"""State of one training on disk. A killed training resumes from it and ends with the same weights.

One file per training. It contains only tensors, numbers and texts, so loading executes no code. It names
settings, data and rows of the training, and is refused for another one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from karec.errors import KarecError
from karec.files import file_aside
from karec.learn._torch import Tensor, torch

FORMAT = 1
RESTART_HINT = "start without --resume, or remove it and train again"


class CheckpointError(KarecError):
    """A checkpoint cannot be read, or belongs to another training."""


@dataclass(frozen=True)
class Checkpoint:
    """Path of a training's state, steps between saves, and ``facts``, which identify the training."""

    path: Path
    every_steps: int
    facts: str

    def save(self, state: Mapping[str, Any]) -> None:
        """Replaces the file atomically: after a kill it has the old or the new state. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with file_aside(self.path) as file:
            try:
                torch.save({"format": FORMAT, "facts": self.facts, **state}, file)
            except RuntimeError as error:  # torch's zip writer hides why a write failed
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load(self) -> dict[str, Any] | None:
        """Returns the last saved state, or None if there is none.

        Raises CheckpointError if the file is truncated, modified, not a checkpoint, or of another training,
        or if several processes have begun the training.
        """
        if not self.path.exists():
            if self.path.with_suffix("").exists():
                raise CheckpointError(
                    f"{self.path.with_suffix('')} is of a training by several processes: add --workers, or "
                    f"{RESTART_HINT}"
                )
            return None
        try:
            damaged = damaged_part(self.path)
            state: Any = None if damaged else torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged pickle can raise anything
            raise CheckpointError(f"{self.path}: not a checkpoint: {error}; {RESTART_HINT}") from error
        if damaged:
            raise CheckpointError(f"{self.path}: damaged: wrong checksum of {damaged}; {RESTART_HINT}")
        if not isinstance(state, dict) or state.get("format") != FORMAT or "facts" not in state:
            actual = state.get("format") if isinstance(state, dict) else None
            raise CheckpointError(f"{self.path}: format is {actual}, expected {FORMAT}; {RESTART_HINT}")
        if state["facts"] != self.facts:
            raise CheckpointError(
                f"{self.path} belongs to another training: {state['facts']}; this one is {self.facts}. "
                f"Resume with the settings and data of the first start, or {RESTART_HINT}"
            )
        return dict(state)


def best_weights(path: Path) -> Mapping[str, Tensor]:
    """Returns the weights of the best epoch of the finished training whose checkpoint is ``path``.

    Raises CheckpointError if the file is missing, not a checkpoint, or of an unfinished training.
    """
    try:
        if damaged_part(path):
            raise ValueError(f"wrong checksum of {damaged_part(path)}")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["format"] != FORMAT:
            raise ValueError(f"format is {state['format']}, expected {FORMAT}. Train the run again.")
        done, weights = state["progress"]["done"], state["best_state"]
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path}: does not contain a trained model: {error}") from error
    if not done:
        raise CheckpointError(f"{path}: the training is unfinished. Finish it with --resume.")
    return dict(weights)


def damaged_part(file: Path | BinaryIO) -> str | None:
    """Returns the first part of the file with a wrong checksum. torch.load does not check checksums."""
    with zipfile.ZipFile(file) as parts:
        return parts.testzip()
