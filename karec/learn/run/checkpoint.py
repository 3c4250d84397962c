"""The state of a training on disk, so that one that is killed goes on and ends as if it had not been.

One file a training, written aside and renamed. Only tensors, numbers and texts are in it: nothing is executed when it
is loaded. A checkpoint names what it is of (settings, data, rows) and is refused for anything else.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from karec.errors import KarecError

if TYPE_CHECKING:
    from karec.learn.run.fitting import Progressed

FORMAT = 1
ANEW = "begin anew without resume, or remove the file and train what it is of again"


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
        """The state last saved, None when there is none.

        Raises CheckpointError naming the file when it is cut short, altered, no checkpoint, or of another training.
        """
        if not self.path.exists():
            return None
        try:
            altered = _altered_part(self.path)
            state: Any = None if altered else torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # what a damaged pickle raises can be anything
            raise CheckpointError(f"{self.path} is not a checkpoint: {error}; {ANEW}") from error
        if altered:
            raise CheckpointError(f"{self.path} is damaged: {altered} is not what was written; {ANEW}")
        if not isinstance(state, dict) or state.get("format") != FORMAT or "facts" not in state:
            raise CheckpointError(f"{self.path} is not a checkpoint of format {FORMAT}; {ANEW}")
        if state["facts"] != self.facts:
            raise CheckpointError(
                f"{self.path} is of another training: {state['facts']}; this one is {self.facts}: go on with the "
                f"settings and data that it began with, or {ANEW}"
            )
        return dict(state)


def _altered_part(path: Path) -> str | None:
    """The first part of the file whose checksum is wrong; torch.load would read it all the same."""
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()
