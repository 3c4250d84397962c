"""How a user behaved in the scene of a request, as model inputs: a log count and, of each task, a smoothed
rate.

Formula and scale are those of ``karec.features.table``, with p the task's rate in that scene: the number is
the user's difference from others there, and 0 for a user who was never there. A scene's own rate is smoothed
towards the overall rate by PRIOR_WEIGHT exposures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import smoothed_rate
from karec.catalog import schema
from karec.catalog.snapshot import Snapshot
from karec.features.stored_head import entry, rates, texts
from karec.features.table import PRIOR_WEIGHT, counter_numbers


@dataclass(frozen=True, eq=False)
class SceneCounterCoder:
    """``counted``: T tasks; ``priors (K + 1, T) float64``: their rates by scene code, code 0 being no known
    scene.

    No tasks where the snapshot that it was fitted on names no scenes, or no exposure was in one.
    """

    counted: tuple[str, ...]
    priors: NDArray[Any]

    @classmethod
    def fit(
        cls, snapshot: Snapshot, codes: NDArray[Any], n_codes: int, labels: Mapping[str, NDArray[Any]]
    ) -> SceneCounterCoder:
        """From training exposures: ``codes (M,)`` of their scenes, 0 … ``n_codes``, and ``labels`` {task:
        (M,)}, both classes in each.
        """
        counters = snapshot.user_scene_counters
        counted = tuple(task for task in labels if counters is None or schema.counter(task) in counters)
        if not snapshot.n_scenes or not n_codes:
            counted = ()
        shown = np.bincount(codes, minlength=n_codes + 1)
        priors = np.empty((n_codes + 1, len(counted)))
        for at, task in enumerate(counted):
            positives = np.bincount(codes, weights=labels[task], minlength=n_codes + 1)
            priors[:, at] = smoothed_rate(positives, shown, float(labels[task].mean()), PRIOR_WEIGHT)
        return cls(counted, priors)

    @property
    def number_names(self) -> tuple[str, ...]:
        """What the columns of ``numbers`` are."""
        rates = (f"rate_{task}_in_scene" for task in self.counted)
        return ("log_exposed_in_scene", *rates) if self.counted else ()

    @property
    def counters(self) -> tuple[str, ...]:
        """The columns of ``Snapshot.user_scene_counters`` that counts hold, in order."""
        return (schema.EXPOSED, *map(schema.counter, self.counted)) if self.counted else ()

    def check(self, snapshot: Snapshot) -> None:
        """Raises ValueError naming the columns that the snapshot's counters, where it has any, lack."""
        if snapshot.user_scene_counters is not None:
            missing = [name for name in self.counters if name not in snapshot.user_scene_counters]
            if missing:
                raise ValueError(
                    f"user_scene_counters lack the columns {missing} that the encoder was fitted on"
                )

    def counts(self, snapshot: Snapshot, user_rows: NDArray[Any], scenes: NDArray[Any]) -> NDArray[Any]:
        """(U, 1 + T) float32: the snapshot's counters of ``user_rows (U,)`` in ``scenes (U,)``, 0 where it
        has none."""
        found = np.zeros((len(user_rows), len(self.counters)), np.float32)
        if snapshot.user_scene_counters is None:
            return found
        rows = snapshot.user_scene_rows(user_rows, scenes)
        known = rows >= 0
        for at, name in enumerate(self.counters):
            found[known, at] = snapshot.user_scene_counters[name][rows[known]]
        return found

    def numbers(self, counts: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
        """(U, 1 + T) float32 from ``counts (U, 1 + T)`` in scenes of ``codes (U,)``; 0 in a scene new to
        training."""
        if counts.shape != (len(codes), len(self.counters)):
            raise ValueError(
                f"scene_counts has shape {counts.shape}, expected {(len(codes), len(self.counters))}"
            )
        return counter_numbers(np.where(codes[:, None] > 0, counts, 0), self.priors[codes])

    def head(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {"counted": self.counted, "priors": self.priors.tolist()}

    @classmethod
    def restore(cls, head: Mapping[str, Any], n_scenes: int) -> SceneCounterCoder:
        """The coder that gave ``head``, of ``n_scenes``; ValueError naming what of it is wrong."""
        counted, rows = texts(head, "counted"), entry(head, "priors")
        if not isinstance(rows, list) or len(rows) != n_scenes + 1:
            raise ValueError(
                f"the priors of the scene counters are not {n_scenes + 1} rows, one for each scene code"
            )
        priors = [rates(row, "a row of the scene counters' priors", len(counted)) for row in rows]
        return cls(counted, np.array(priors, np.float64).reshape(len(rows), len(counted)))
