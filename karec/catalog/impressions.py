"""Impressions: items shown to users, with labels of what the users did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Impressions:
    """M impressions, ordered by time.

    user_id, work_id (M,) int64
    time_ms          (M,) int64, Unix milliseconds
    scene            (M,) int32, index into the snapshot's ``labels["scene"]``
    labels           {name: (M,) uint8, 0 or 1}, explained by the snapshot's ``meaning``
    play_ms          (M,) int64, milliseconds played, None if unknown
    position         (M,) int16, position on the page, 1 is the first and 0 is unknown; None if no row has one
    """

    user_id: NDArray[Any]
    work_id: NDArray[Any]
    time_ms: NDArray[Any]
    scene: NDArray[Any]
    labels: Mapping[str, NDArray[Any]]
    play_ms: NDArray[Any] | None = None
    position: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, selector: NDArray[Any] | slice) -> Impressions:
        """Returns the rows of ``selector``: indices, a boolean mask, or a slice, which copies nothing."""
        return Impressions(
            self.user_id[selector],
            self.work_id[selector],
            self.time_ms[selector],
            self.scene[selector],
            {name: label[selector] for name, label in self.labels.items()},
            None if self.play_ms is None else self.play_ms[selector],
            None if self.position is None else self.position[selector],
        )
