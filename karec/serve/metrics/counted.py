"""What one worker counts of its answers: rows of numbers by scene, stage and step, and counters by name.

An answer costs its request one append to a queue; a thread folds what is there. Each row has two forms:
``total`` since the worker began, and ``recent``, which forgets with a mean of a minute (a call that is t
seconds old counts e^(−t/60)), so that the sums of several workers say what the last minute was like. O(steps)
an answer, ~1 µs a step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from karec.pipeline.trace import StepTrace
from karec.pipeline.types import Array, Page
from karec.serve.metrics.histogram import BINS, bins_of
from karec.serve.metrics.names import NAMED

CALLS, N_IN, N_OUT, FAILED, MS, HISTOGRAM = range(6)  # columns of a row; the histogram's BINS are the last
WIDTH = HISTOGRAM + BINS
RECENT_S = 60.0
MOST_ROWS, MOST_NAMES, LONGEST = 2_000, 100, 120
OTHER = "other"

Key = tuple[str, str, str, str]
"""(scene, stage, step, role). Of a whole stage step and role are "", of a whole answer stage too."""
Labels = tuple[str, ...]


class Seen(NamedTuple):
    """What is counted of one answer; it holds no candidates."""

    scene: str
    steps: Sequence[StepTrace]
    ms: float
    wanted: int
    works: int
    degraded: tuple[str, ...]
    cold: bool
    short: bool

    @classmethod
    def of(cls, answer: Page, ms: float) -> Seen:
        request = answer.request
        what = answer.degraded, answer.is_cold_start, answer.shortfall is not None
        return cls(request.scene, answer.trace.steps, ms, request.k, len(answer.candidates), *what)


class Counted:
    """One thread at a time may call it."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.total = np.zeros((0, WIDTH))
        self.recent = np.zeros((0, WIDTH))
        self.named: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        self._rows: dict[Key, int] = {}
        self._folded_s: float | None = None

    def count(self, name: str, labels: Labels = (), n: float = 1) -> None:
        """A counter of ``NAMED``; of more than 100 sets of labels, the others are counted together."""
        if len(labels) != len(NAMED[name].labels):
            raise ValueError(f"{name} has the labels {NAMED[name].labels}, given {labels}")
        labels, counted = tuple(label[:LONGEST] for label in labels), self.named[name]
        if labels not in counted and len(counted) >= MOST_NAMES:
            labels = (OTHER,) * len(labels)
        counted[labels] = counted.get(labels, 0.0) + n

    def fold(self, answers: Sequence[Seen], now_s: float) -> None:
        """Counts ``answers``, given by ``now_s``, seconds of one clock."""
        rows: list[int] = []
        values: list[tuple[float, float, float, float]] = []
        for seen in answers:
            self._fold_steps(seen, rows, values)
            rows.append(self._row((seen.scene, "", "", "")))
            values.append((seen.wanted, seen.works, bool(seen.degraded), seen.ms))
            for what in seen.degraded:
                self.count("karec_degraded", (seen.scene, what))
            for place in {step.stage for step in seen.steps if step.fallback is not None}:
                self.count("karec_no_time", (seen.scene, place))
            if seen.cold:
                self.count("karec_answers_cold", (seen.scene,))
            if seen.short:
                self.count("karec_answers_short", (seen.scene,))
        if self._folded_s is not None:
            self.recent *= math.exp(-max(now_s - self._folded_s, 0.0) / RECENT_S)
        self._folded_s = now_s
        if rows:
            self._grow()
            added = summed(np.array(rows), np.array(values, np.float64), len(self.keys))
            self.total += added
            self.recent += added

    def _fold_steps(
        self, seen: Seen, rows: list[int], values: list[tuple[float, float, float, float]]
    ) -> None:
        """Rows of each step that ran, and of each stage: it has what its first step had, and leaves what its
        last step left."""
        stages: dict[str, list[float]] = {}
        for step in seen.steps:
            n_in, n_out = max(step.n_in, 0), max(step.n_out, 0)
            failed = float(step.failure is not None)
            rows.append(self._row((seen.scene, step.stage, step.step, step.role)))
            values.append((n_in, n_out, failed, step.ms))
            stage = stages.get(step.stage)
            if stage is None:
                stages[step.stage] = [n_in, n_out, failed, step.ms]
            else:
                stage[0] = n_in if step.role == "merger" else stage[0]
                stage[1] = n_out
                stage[2] += failed
                stage[3] += step.ms
        for name, (came, left, failures, ms) in stages.items():
            rows.append(self._row((seen.scene, name, "", "")))
            values.append((came, left, failures, ms))

    def _row(self, key: Key) -> int:
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                key = (OTHER,) * 4
            row = self._rows.setdefault(key, len(self._rows))
            if row == len(self.keys):
                self.keys.append(key)
        return row

    def _grow(self) -> None:
        new = np.zeros((len(self.keys) - len(self.total), WIDTH))
        if len(new):
            self.total, self.recent = np.concatenate([self.total, new]), np.concatenate([self.recent, new])


def summed(rows: Array, values: Array, n: int) -> Array:
    """(n, WIDTH) of M calls: the ``rows (M,)`` that they are of, and their ``values (M, 4)``: in, out,
    failed, ms."""
    out = np.zeros((n, WIDTH))
    out[:, CALLS] = np.bincount(rows, minlength=n)
    for at, column in enumerate((N_IN, N_OUT, FAILED, MS)):
        out[:, column] = np.bincount(rows, values[:, at], minlength=n)
    np.add.at(out, (rows, HISTOGRAM + bins_of(values[:, 3])), 1.0)
    return out
