"""The state of a training on disk, so that one that is killed goes on and ends as if it had not been.

One file a training, written aside and renamed. Only tensors, numbers and texts are in it: nothing is executed when it
is loaded. A checkpoint names what it is of (settings, data, rows) and is refused for anything else.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from karec.errors import KarecError

if TYPE_CHECKING:
    from karec.learn.fitting import Progressed

FORMAT = 1


class CheckpointError(KarecError):
    """A checkpoint cannot be read, or is of another training."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, every how many steps, and ``facts``: what the training is of.

    ``watch`` is told how far the training is as it begins or goes on, at each point of its curve and after each epoch.
    """

    path: Path
    every: int
    facts: str
    watch: Callable[[Progressed], None] | None = None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file at once: a reader, or a run after a kill, sees the old state or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".writing")
        with aside.open("wb") as file:
            torch.save({"format": FORMAT, "facts": self.facts, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """The state last saved, None when there is none. Raises CheckpointError naming the file."""
        if not self.path.exists():
            return None
        try:
            state: Any = torch.load(self.path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{self.path} is not a checkpoint: {error}") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise CheckpointError(f"{self.path} is not a checkpoint of format {FORMAT}")
        if state["facts"] != self.facts:
            raise CheckpointError(f"{self.path} is of another training: {state['facts']}; this one is {self.facts}")
        return dict(state)
