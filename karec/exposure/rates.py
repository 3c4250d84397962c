"""How often works were shown and enjoyed, as the snapshot counts it: the Beta rates that exploration draws
from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate
from karec.catalog import schema
from karec.catalog.snapshot import Snapshot

LEAST_MEAN = 0.01  # of a platform where nothing was enjoyed yet


class Rates:
    """Counters by work id; all 0 without a snapshot, or where it counts nothing."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        columns = {} if snapshot is None else snapshot.works.columns
        counted = [] if snapshot is None else [schema.counter(label) for label in snapshot.meaning.enjoyed]
        counted = [name for name in counted if name in columns]
        self._works = None if snapshot is None else snapshot.works
        self._shows = columns.get(schema.EXPOSED)
        self._positives = columns[counted[-1]] if counted and self._shows is not None else None
        known = self._positives is not None and self._shows is not None
        self._mean = max(mean_rate(self._positives, self._shows), LEAST_MEAN) if known else 0.5  # type: ignore[arg-type]

    def shown(self, ids: NDArray[Any]) -> NDArray[Any]:
        """(N,) float64: how often each work was shown up to the snapshot's moment; 0 for one that it does not
        know."""
        return self._at(self._shows, ids)

    def beta(self, ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """(α (N,), β (N,)) of each work's rate: its positives and the rest of its shows, over a prior of
        ``PRIOR_SHOWS`` shows at the mean rate. Both of the snapshot's moment: outcomes since are not known
        here.
        """
        positives, shows = self._at(self._positives, ids), self._at(self._shows, ids)
        alpha = PRIOR_SHOWS * self._mean + positives
        return alpha, PRIOR_SHOWS * (1.0 - self._mean) + np.maximum(shows - positives, 0.0)

    def _at(self, column: NDArray[Any] | None, ids: NDArray[Any]) -> NDArray[Any]:
        if column is None or self._works is None or not len(ids):
            return np.zeros(len(ids))
        rows = self._works.lookup(ids)
        return np.where(rows >= 0, np.asarray(column)[rows], 0.0).astype(np.float64)
