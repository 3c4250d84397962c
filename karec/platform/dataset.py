"""What models learn from: a snapshot, the exposures that follow it, and the moments that split them."""

from __future__ import annotations

from dataclasses import dataclass

from karec.platform.events import Exposures
from karec.platform.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Dataset:
    """``exposures`` follow ``snapshot`` in time. Training rows have time < ``train_until_ms``, validation rows time <
    ``valid_until_ms``, test rows the rest. ``tasks`` are the labels to learn, the main one first. ``notes`` say
    what the loader dropped or took as unknown, a line each.
    """

    name: str
    snapshot: Snapshot
    exposures: Exposures
    train_until_ms: int
    valid_until_ms: int
    tasks: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def split(self) -> tuple[Exposures, Exposures, Exposures]:
        """(training, validation, test), each in order of time."""
        time = self.exposures.time_ms
        train, valid = time < self.train_until_ms, time < self.valid_until_ms
        return self.exposures.take(train), self.exposures.take(~train & valid), self.exposures.take(~valid)
