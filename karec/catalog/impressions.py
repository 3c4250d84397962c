"""Exposures: works that were shown to users, and what the users did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Impressions:
    """M works that were shown, in order of time.

    user_id, work_id (M,) int64
    time_ms          (M,) int64, Unix milliseconds
    scene            (M,) int32, a code of the snapshot's ``labels["scene"]``
    labels           {name: (M,) uint8, 0 or 1}; the snapshot's ``meaning`` says what they mean
    play_ms          (M,) int64, milliseconds played; None where it is not known
    """

    user_id: NDArray[Any]
    work_id: NDArray[Any]
    time_ms: NDArray[Any]
    scene: NDArray[Any]
    labels: Mapping[str, NDArray[Any]]
    play_ms: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, selector: NDArray[Any] | slice) -> Impressions:
        """The exposures at ``selector`` (indices, a boolean mask, or a slice, which copies nothing)."""
        return Impressions(
            self.user_id[selector],
            self.work_id[selector],
            self.time_ms[selector],
            self.scene[selector],
            {name: label[selector] for name, label in self.labels.items()},
            None if self.play_ms is None else self.play_ms[selector],
        )
