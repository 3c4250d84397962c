"""What models learn from: a snapshot, the exposures that follow it, and the moments that split them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from karec.catalog.impressions import Impressions
from karec.catalog.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Dataset:
    """``exposures`` follow ``snapshot`` in time. Training rows have time < ``train_until_ms``, validation
    rows time < ``valid_until_ms``, test rows the rest. ``tasks`` are the labels to learn, the main one first;
    ``weights`` what each weighs in the score that feeds are ordered by, 1 for one that is not named.
    ``notes`` say what every report must: what the loader dropped, took as unknown or drew, a line each.
    ``drawn``: exposures without a positive label are negatives that were drawn, with a chance ∝ (how often a
    work is taken + 1)^drawn; None: they were shown. ``timeless``: the moments of exposures are made up, and
    say nothing but in which part an exposure is. ``columns``: what each column of the files became, {table:
    {column: what}}, where the data are of files.
    """

    name: str
    snapshot: Snapshot
    exposures: Impressions
    train_until_ms: int
    valid_until_ms: int
    tasks: tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    drawn: float | None = None
    timeless: bool = False
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def objectives(self) -> dict[str, float]:
        """{task: its weight}, in the order of ``tasks``."""
        return {task: float(self.weights.get(task, 1.0)) for task in self.tasks}

    def split(self) -> tuple[Impressions, Impressions, Impressions]:
        """(training, validation, test), each in order of time."""
        time = self.exposures.time_ms
        train, valid = time < self.train_until_ms, time < self.valid_until_ms
        return self.exposures.take(train), self.exposures.take(~train & valid), self.exposures.take(~valid)
