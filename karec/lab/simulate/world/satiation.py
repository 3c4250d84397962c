"""Satiation: who was shown works of one creator, or of one tag, a moment ago wants the next one less.

    logit(task) −= scale · Σ_cause effect(cause, task) · n(cause)

n(cause) counts, among the last ``window`` works that were shown to the user, those of the same creator, or
tag. Which session or day they were shown in does not matter.
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
    """What each earlier work of the same kind among the last ``window`` takes from a task's logit."""

    window: int
    click: float = 0.0
    long_view: float = 0.0
    like: float = 0.0

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError(f"window is {self.window}, expected at least 0")

    def effect(self, task: str) -> float:
        """0 for a task that has none."""
        return float(getattr(self, task, 0.0)) if task in ("click", "long_view", "like") else 0.0


@dataclass(frozen=True)
class Satiation:
    """``scale`` multiplies every effect: 0 is a world without satiation, 2 one with twice as much."""

    creator: Repeat
    tag: Repeat
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale < np.inf:
            raise ValueError(f"the scale of satiation is {self.scale}, expected a number ≥ 0")

    @property
    def window(self) -> int:
        """How many works back it looks at most."""
        return max(self.creator.window, self.tag.window)

    def repeats(
        self, user: NDArray[Any], creator: NDArray[Any], tag: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """n of each cause for M works in the order that they are shown, of ``user, creator, tag (M,)``."""
        values = {"creator": creator, "tag": tag}
        return {cause: repeats_of(user, values[cause], getattr(self, cause).window) for cause in CAUSES}

    def lowered(self, task: str, logits: NDArray[Any], repeats: Repeats) -> NDArray[Any]:
        """(N,) float32: ``logits`` less what the ``repeats`` take; a cause that they do not name has none."""
        for cause in CAUSES:
            effect = np.float32(self.scale * getattr(self, cause).effect(task))
            if effect and cause in repeats:
                logits = logits - effect * np.asarray(repeats[cause], np.float32)
        return logits


FORMER = Satiation(creator=Repeat(0), tag=Repeat(4, click=0.25))  # what worlds had before any was fitted
# Measured on KuaiRand (docs/notebook/2026-11-29-removed-studies.md): 95 % intervals −0.05 … 0.20 for clicks,
# 0.05 … 0.33 for likes; of creators nothing can be told.
KUAIRAND = Satiation(creator=Repeat(0), tag=Repeat(4, click=0.075, like=0.18))


def repeats_of(user: NDArray[Any], value: NDArray[Any], window: int) -> NDArray[Any]:
    """(M,) int32 for works in the order they are shown: how many of the user's last ``window`` have the same
    value."""
    order = np.argsort(user, kind="stable")
    u, v = user[order], value[order]
    count = np.zeros(len(user), np.int32)
    for back in range(1, min(window, len(user) - 1) + 1):
        count[back:] += (u[back:] == u[:-back]) & (v[back:] == v[:-back])
    repeats = np.empty(len(user), np.int32)
    repeats[order] = count
    return repeats
