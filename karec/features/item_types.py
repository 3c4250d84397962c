"""Encodes items of other types than works (songs, creators, rooms) for the models of works.

All types have the inputs and the tasks of works, so one model orders them and costs no more:

    id          the code of the item type; the type is an input of experts and gates, as the scene is
    categories  creator, song, tag, … by the vocabularies of works; missing if the type lacks the column
    tasks       the j-th label of the type takes the place of the j-th task, the last one all further places
    counters    impressions, and the rate of the label in the place of the task's rate, relative to its mean

Matches with the history and affinities are those of the shared categories. The user has the inputs of works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from msgspec import Struct

from karec.catalog.impressions import Impressions
from karec.features.table import Rate, TableCoder, check_names


class ItemTypeHead(Struct, frozen=True):
    """Labels of an item type, in order, and their mean rates in training. Raises ValueError."""

    name: str
    labels: tuple[str, ...]
    priors: tuple[Rate, ...]

    def __post_init__(self) -> None:
        check_names("labels", self.labels)
        if not self.name or not self.labels or len(self.priors) != len(self.labels):
            raise ValueError(
                f"item type {self.name[:60]!r} has {len(self.labels)} labels, expected a name, "
                f"a label and a rate of each"
            )

    @classmethod
    def fit(cls, name: str, impressions: Impressions, labels: Sequence[str]) -> ItemTypeHead | None:
        """Returns the head of the labels with both values in ``impressions``; None if there is none."""
        rates = {
            label: float(impressions.labels[label].mean()) for label in labels if label in impressions.labels
        }
        usable = {label: rate for label, rate in rates.items() if 0.0 < rate < 1.0}  # without rows it is NaN
        if not usable:
            return None
        return cls(name, tuple(usable), tuple(np.clip([*usable.values()], 1e-6, 1 - 1e-6).tolist()))

    def labels_of(self, n_tasks: int) -> tuple[str, ...]:
        """Returns the label in the place of each task."""
        return tuple(self.labels[min(task, len(self.labels) - 1)] for task in range(n_tasks))


def item_type_coder(works: TableCoder, tasks: Sequence[str], head: ItemTypeHead, code: int) -> TableCoder:
    """Returns the coder of the items of a type, whose id has ``code``, from that of works."""
    labels = dict(zip(tasks, head.labels_of(len(tasks)), strict=True))
    counted = tuple(labels.get(label, head.labels[-1]) for label in works.counted)
    rates = dict(zip(head.labels, head.priors, strict=True))
    return replace(works, type_code=code, counted=counted, priors=tuple(rates[label] for label in counted))
