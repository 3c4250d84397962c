"""The state of one training on disk: a training that is killed goes on from it and ends with the same
weights.

One file a training. It holds tensors, numbers and texts alone, so that loading executes nothing. It names
what the training is of (settings, data, rows), and is refused for anything else.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.errors import KarecError
from karec.files import file_aside
from karec.learn._torch import Tensor, torch

FORMAT = 1
ANEW = "begin anew without resume, or remove the file and train what it is of again"


class CheckpointError(KarecError):
    """A checkpoint cannot be read, or is of another training."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, every how many steps, and ``facts``: what the training is of."""

    path: Path
    every: int
    facts: str

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file at once: a reader, or a run after a kill, sees the old state or the new one.
        OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with file_aside(self.path) as file:
            try:
                torch.save({"format": FORMAT, "facts": self.facts, **state}, file)
            except RuntimeError as error:  # torch's zip writer hides why a write failed
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load(self) -> dict[str, Any] | None:
        """The state last saved, None when there is none.

        Raises CheckpointError naming the file when it is cut short, altered, no checkpoint, or of another
        training.
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
            found = state.get("format") if isinstance(state, dict) else None
            raise CheckpointError(
                f"{self.path} is not a checkpoint of format {FORMAT}: its format is {found}; {ANEW}"
            )
        if state["facts"] != self.facts:
            raise CheckpointError(
                f"{self.path} is of another training: {state['facts']}; this one is {self.facts}: go on with "
                f"the settings and data that it began with, or {ANEW}"
            )
        return dict(state)


def best_weights(path: Path) -> Mapping[str, Tensor]:
    """The weights of the best epoch in a finished training's checkpoint at ``path``.

    Raises CheckpointError naming the file when it is missing, no checkpoint, or of a training that has not
    ended.
    """
    try:
        if _altered_part(path):
            raise ValueError(f"{_altered_part(path)} is not what was written")
        state = torch.load(path, weights_only=True, map_location="cpu")
        done, weights = state["progress"]["done"], state["best_state"]
    except Exception as error:  # what a damaged pickle raises can be anything
        raise CheckpointError(f"{path} does not hold trained towers: {error}") from error
    if not done:
        raise CheckpointError(f"{path} is of a training that has not ended: end it with --resume")
    return dict(weights)


def _altered_part(path: Path) -> str | None:
    """The first part of the file whose checksum is wrong; torch.load does not look at checksums."""
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()
