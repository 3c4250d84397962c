"""Inputs from a user's counters in the scene of a request: a log count and a smoothed rate for each task.

Formula and scale are those of ``karec.features.table``, with p the rate of the task in the scene. The input
is the difference of the user from others in the scene, and 0 for a user without impressions in it. The rate
of a scene is smoothed towards the overall rate by PRIOR_WEIGHT impressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from karec.aggregates.rates import smoothed_rate
from karec.catalog import schema
from karec.catalog.snapshot import Snapshot
from karec.features.table import PRIOR_WEIGHT, Rate, check_names, scale_counters


class SceneCounterHead(Struct, frozen=True):
    """A ``SceneCounterCoder`` as an encoder's head stores it."""

    counted: tuple[str, ...]
    priors: list[tuple[Rate, ...]]

    def __post_init__(self) -> None:
        check_names("counted", self.counted)
        if any(len(row) != len(self.counted) for row in self.priors):
            raise ValueError(f"a row of priors has not {len(self.counted)} rates, one for each label")


@dataclass(frozen=True, eq=False)
class SceneCounterCoder:
    """Encodes counters by user and scene. Any number of threads may call.

    counted  T tasks; none if the fitted snapshot had no scenes or no impression was in one
    priors   (K + 1, T) float64 rates by scene code; code 0 is an unknown scene
    """

    counted: tuple[str, ...]
    priors: NDArray[Any]

    @classmethod
    def fit(
        cls, snapshot: Snapshot, codes: NDArray[Any], n_codes: int, labels: Mapping[str, NDArray[Any]]
    ) -> SceneCounterCoder:
        """Fits to training impressions.

        Args:
            codes: (M,) codes of their scenes, 0 … ``n_codes``.
            labels: {task: (M,)}, each with both classes.
        """
        counters = snapshot.user_scene_counters
        counted = tuple(task for task in labels if counters is None or schema.counter(task) in counters)
        if not snapshot.n_scenes or not n_codes:
            counted = ()
        n_impressions = np.bincount(codes, minlength=n_codes + 1)
        priors = np.empty((n_codes + 1, len(counted)))
        for column, task in enumerate(counted):
            positives = np.bincount(codes, weights=labels[task], minlength=n_codes + 1)
            priors[:, column] = smoothed_rate(
                positives, n_impressions, float(labels[task].mean()), PRIOR_WEIGHT
            )
        return cls(counted, priors)

    @property
    def number_names(self) -> tuple[str, ...]:
        """The names of the columns of ``scale``."""
        rates = (f"rate_{task}_in_scene" for task in self.counted)
        return ("log_exposed_in_scene", *rates) if self.counted else ()

    @property
    def counters(self) -> tuple[str, ...]:
        """The columns of ``Snapshot.user_scene_counters`` in the order of ``counts``."""
        return (schema.EXPOSED, *map(schema.counter, self.counted)) if self.counted else ()

    def check(self, snapshot: Snapshot) -> None:
        """Raises ValueError for columns that the snapshot's counters by user and scene do not have."""
        if snapshot.user_scene_counters is not None:
            missing = [name for name in self.counters if name not in snapshot.user_scene_counters]
            if missing:
                raise ValueError(
                    f"user_scene_counters lack the columns {missing} that the encoder was fitted on"
                )

    def read_counts(self, snapshot: Snapshot, user_rows: NDArray[Any], scenes: NDArray[Any]) -> NDArray[Any]:
        """Returns (U, 1 + T) float32, the snapshot's counters of ``user_rows`` (U,) in ``scenes`` (U,)."""
        counts = np.zeros((len(user_rows), len(self.counters)), np.float32)
        if snapshot.user_scene_counters is None:
            return counts
        rows = snapshot.user_scene_rows(user_rows, scenes)
        has_row = rows >= 0
        for column, name in enumerate(self.counters):
            counts[has_row, column] = snapshot.user_scene_counters[name][rows[has_row]]
        return counts

    def scale(self, counts: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
        """Returns (U, 1 + T) float32 inputs of ``counts`` (U, 1 + T) in scenes of ``codes`` (U,).

        They are 0 in a scene that training did not see.
        """
        if counts.shape != (len(codes), len(self.counters)):
            raise ValueError(
                f"scene_counts has shape {counts.shape}, expected {(len(codes), len(self.counters))}"
            )
        return scale_counters(np.where(codes[:, None] > 0, counts, 0), self.priors[codes])

    def to_head(self) -> SceneCounterHead:
        return SceneCounterHead(self.counted, list(map(tuple, self.priors.tolist())))

    @classmethod
    def from_head(cls, head: SceneCounterHead, n_scenes: int) -> SceneCounterCoder:
        """Returns the coder of ``to_head``. Raises ValueError for another number of scenes."""
        n_codes = n_scenes + 1
        if len(head.priors) != n_codes:
            raise ValueError(f"the priors of scenes have {len(head.priors)} rows, expected {n_codes}")
        return cls(head.counted, np.array(head.priors, np.float64).reshape(n_codes, len(head.counted)))
