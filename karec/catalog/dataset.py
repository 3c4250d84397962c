"""Training data: a snapshot, the impressions after it, and the times that split them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Dataset:
    """A snapshot and labelled impressions, split by time into training, validation and test rows.

    exposures       impressions after ``snapshot``
    train_until_ms  training rows have an earlier time
    valid_until_ms  validation rows have an earlier time, test rows have the rest
    tasks           labels to learn, the main one first
    weights         weight of each task in the score that orders pages, 1 if it is missing
    notes           lines that every report shows: what the loader dropped, took as unknown or sampled
    drawn           impressions without a positive label are sampled negatives, with probability ∝ (number of
                    positives of an item + 1)^drawn. None: they were shown
    timeless        the times of impressions are invented and only define the split
    columns         {table: {column: use}} of data from files
    item_types      tables of item types other than works, songs and creators
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
    item_types: Mapping[str, ItemTable] = field(default_factory=dict)

    @property
    def objectives(self) -> dict[str, float]:
        """The weight of each task, in the order of ``tasks``."""
        return {task: float(self.weights.get(task, 1.0)) for task in self.tasks}

    @property
    def end_ms(self) -> int:
        """Unix ms just after the newest impression."""
        return int(self.exposures.time_ms[-1]) + 1

    @property
    def has_impressions(self) -> bool:
        """True if some rows are impressions that were not consumed: users enjoy only what they are shown.

        False for purchases and ratings, where users chose the items.
        """
        is_consumed = self.snapshot.meaning.is_consumed(self.exposures.labels)
        return self.drawn is None and not bool(is_consumed.all())

    def split(self) -> tuple[Impressions, Impressions, Impressions]:
        """Returns training, validation and test rows, each ordered by time."""
        time = self.exposures.time_ms
        train, valid = time < self.train_until_ms, time < self.valid_until_ms
        return self.exposures.take(train), self.exposures.take(~train & valid), self.exposures.take(~valid)
