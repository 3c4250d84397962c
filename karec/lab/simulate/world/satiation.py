"""Satiation: a user who was just shown works of one creator or tag wants the next such work less.

    logit(task) −= scale · Σ_cause effect(cause, task) · n(cause)

n(cause) counts the works of the same creator or tag among the last ``window`` works shown to the user. The
session or day in which they were shown does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CAUSES = ("creator", "tag")
Repeats = Mapping[str, NDArray[Any]]  # {cause: (N,) int32}: n(cause) of N works


@dataclass(frozen=True)
class Repeat:
    """Reduction of each task's logit by one similar work among the last ``window``."""

    window: int
    click: float = 0.0
    long_view: float = 0.0
    like: float = 0.0

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError(f"window is {self.window}, expected at least 0")

    def effect(self, task: str) -> float:
        return float(getattr(self, task, 0.0)) if task in ("click", "long_view", "like") else 0.0


@dataclass(frozen=True)
class Satiation:
    """``scale`` multiplies every effect; 0: a world without satiation."""

    creator: Repeat
    tag: Repeat
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale < np.inf:
            raise ValueError(f"satiation.scale is {self.scale}, expected a finite number ≥ 0")

    @property
    def window(self) -> int:
        """Largest window of the causes, in works."""
        return max(self.creator.window, self.tag.window)

    def repeats(
        self, user: NDArray[Any], creator: NDArray[Any], tag: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """Returns n of each cause for M works in display order; ``user, creator, tag`` (M,)."""
        values = {"creator": creator, "tag": tag}
        return {cause: count_repeats(user, values[cause], getattr(self, cause).window) for cause in CAUSES}

    def apply(self, task: str, logits: NDArray[Any], repeats: Repeats) -> NDArray[Any]:
        """Returns (N,) float32: ``logits`` minus the effect of ``repeats``; missing causes have none."""
        for cause in CAUSES:
            effect = np.float32(self.scale * getattr(self, cause).effect(task))
            if effect and cause in repeats:
                logits = logits - effect * np.asarray(repeats[cause], np.float32)
        return logits


# Intervals of karec lab satiation on KuaiRand, for a tag among the last four impressions: clicks 0.033 to
# 0.076, within ten minutes 0.063 to 0.288. Those of all other outcomes of tags contain 0. The log has too few
# repeats of creators (docs/notebook/2026-11-30-prerank-loop.md).
KUAIRAND = Satiation(creator=Repeat(0), tag=Repeat(4, click=0.07))


def count_repeats(user: NDArray[Any], value: NDArray[Any], window: int) -> NDArray[Any]:
    """Returns (M,) int32: how many of the user's last ``window`` works have the same value."""
    order = np.argsort(user, kind="stable")
    u, v = user[order], value[order]
    count = np.zeros(len(user), np.int32)
    for distance in range(1, min(window, len(user) - 1) + 1):
        count[distance:] += (u[distance:] == u[:-distance]) & (v[distance:] == v[:-distance])
    repeats = np.empty(len(user), np.int32)
    repeats[order] = count
    return repeats
