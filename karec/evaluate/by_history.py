"""Rows by how much is known of their user: exposures of the user before the row's moment, as the model knew
it."""

from __future__ import annotations

import numpy as np

from karec.platform.dataset import Dataset
from karec.platform.folds.counters import BY_USER
from karec.platform.folds.located import LocatedEvents
from karec.platform.schema import EXPOSED
from karec.types import Array

GROUPS = {"0": (0, 0), "1-10": (1, 10), "11-50": (11, 50), "51+": (51, np.inf)}  # least and most exposures


def exposures_before(dataset: Dataset, as_of: Array) -> Array:
    """(M,) float32: how often anything was shown to each exposure's user before ``as_of (M,)`` ms, those that
    the snapshot counted included. O(M log M)."""
    events = LocatedEvents.of(dataset.snapshot, dataset.exposures)
    counters = BY_USER.over_time(dataset.snapshot, events, (EXPOSED,))
    return np.asarray(counters.at(events.user, as_of)[:, 0])


def rows_by_history(seen: Array) -> dict[str, Array]:
    """{group: (M,) bool} for ``seen (M,)`` exposures before each row; every row is in one group."""
    return {name: (seen >= least) & (seen <= most) for name, (least, most) in GROUPS.items()}
