"""Exposures: works that were shown to users, and what the users did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from karec.types import Array


@dataclass(frozen=True, eq=False)
class Exposures:
    """M works that were shown, in order of time, with what the user did.

    ``user_id work_id (M,) int64``, ``time_ms (M,) int64``, ``scene (M,) int32``;
    ``labels`` {task: (M,) uint8} (click, long_view, like, …); ``play_ms (M,) int64``.
    """

    user_id: Array
    work_id: Array
    time_ms: Array
    scene: Array
    labels: Mapping[str, Array]
    play_ms: Array

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, selector: Array) -> Exposures:
        return Exposures(
            self.user_id[selector],
            self.work_id[selector],
            self.time_ms[selector],
            self.scene[selector],
            {task: label[selector] for task, label in self.labels.items()},
            self.play_ms[selector],
        )
