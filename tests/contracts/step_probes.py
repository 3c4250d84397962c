"""Probe steps: a source that returns the items of the test, and steps that keep their input.

``brought`` and ``seen`` have the request id as key, so that threads use different entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.pipeline.step import Hydrator, Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.selectors.random_position import RandomPosition

brought: dict[str, Array] = {}
seen: dict[tuple[str, str], Seen] = {}

ARRAYS = ("ids", "rows", "scores", "sources")


@dataclass(frozen=True)
class Seen:
    """Input of a step, and copies of its arrays from that time."""

    request: Request
    candidates: Candidates
    copies: dict[str, Array]

    @classmethod
    def of(cls, request: Request, candidates: Candidates) -> Seen:
        arrays = {**arrays_of(candidates), **features_of(request)}
        return cls(request, candidates, {name: array.copy() for name, array in arrays.items()})

    def now(self) -> dict[str, Array]:
        """The same arrays as they are now."""
        return {**arrays_of(self.candidates), **features_of(self.request)}


def arrays_of(candidates: Candidates) -> dict[str, Array]:
    columns = {f"column.{name}": column for name, column in candidates.columns.items()}
    return {**{name: getattr(candidates, name) for name in ARRAYS}, **columns}


def features_of(request: Request) -> dict[str, Array]:
    return {f"request.{name}": np.asarray(value) for name, value in request.features.items()}


class Brings(Source):
    """The first ``quota`` items of this request from ``start`` on, with descending scores."""

    def __init__(self, quota: int, start: int = 0) -> None:
        self.quota, self.start = quota, start

    def recall(self, request: Request) -> Candidates:
        ids = brought[request.request_id][self.start :][: self.quota]
        return Candidates.from_ids(ids, np.linspace(1, 0, len(ids), dtype=np.float32) - self.start)


class Keeps(Hydrator):
    """Adds no column. It keeps its input under ``place``."""

    def __init__(self, place: str) -> None:
        self.place = place

    def hydrate(self, request: Request, candidates: Candidates) -> dict[str, Array]:
        seen[request.request_id, self.place] = Seen.of(request, candidates)
        return {}


class UnloggedPosition(RandomPosition):
    """The tested step, in a scene without a rank log."""
