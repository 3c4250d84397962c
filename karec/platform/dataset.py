"""What models learn from: a snapshot, the exposures that follow it, and where time splits them."""

from __future__ import annotations

from dataclasses import dataclass

from karec.platform.events import Exposures
from karec.platform.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot as of the first exposure, the exposures that follow, and where time splits them.

    train: time < train_until_ms ≤ validation < valid_until_ms ≤ test. ``tasks`` are the labels worth learning, the
    first being the main one.
    """

    name: str
    snapshot: Snapshot
    exposures: Exposures
    train_until_ms: int
    valid_until_ms: int
    tasks: tuple[str, ...]

    def split(self) -> tuple[Exposures, Exposures, Exposures]:
        """(train, validation, test), each in order of time."""
        time = self.exposures.time_ms
        train, valid = time < self.train_until_ms, time < self.valid_until_ms
        return self.exposures.take(train), self.exposures.take(~train & valid), self.exposures.take(~valid)
