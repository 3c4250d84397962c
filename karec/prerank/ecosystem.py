"""The health of what prerank lets through: freshness, tone, and no creator or song taking it all.

The arithmetic is C++'s (``native/include/karec/ecosystem.hpp``), so that a C++ host gets the same bits.
"""

from __future__ import annotations

import numpy as np

from karec.backend import library as _native
from karec.errors import ContractError
from karec.index import ItemIndex
from karec.stage import Filter, Scorer
from karec.types import Array, Candidates, Request

HOUR_MS = 3_600_000.0


def _column(index: ItemIndex, name: str, candidates: Candidates) -> Array:
    """The index's column for each candidate."""
    if candidates.n_unknown:
        raise ContractError(
            f"{candidates.n_unknown} of {len(candidates)} candidates have no row in the item index: put the steps "
            f"index_rows and has_embedding before the one that reads {name!r}"
        )
    return np.asarray(index.columns[name])[candidates.rows]


def _need_column(index: ItemIndex, name: str) -> None:
    if name not in index.columns:
        raise ValueError(f"the item index has no column {name!r}; it has {sorted(index.columns)}")


class Freshness(Scorer):
    """score + weight · 2^(−age / half life): a new work gets ``weight`` more, one a half life old half of that."""

    def __init__(self, index: ItemIndex, weight: float, half_life_hours: float = 24.0) -> None:
        _need_column(index, "upload_ms")
        if not half_life_hours > 0:
            raise ValueError(f"half_life_hours must be positive, got {half_life_hours}")
        if not np.isfinite(weight):
            raise ValueError(f"weight must be finite, got {weight}")
        self.index = index
        self.weight = weight
        self.half_life_hours = half_life_hours

    def score(self, request: Request, candidates: Candidates) -> Array:
        now = 0 if request.time_ms is None else request.time_ms
        uploaded = _column(self.index, "upload_ms", candidates)
        return _native.freshness(candidates.scores, uploaded, now, self.weight, self.half_life_hours)


class Tone(Filter):
    """Drops works whose ``column`` (a number that screening or moderation gave) is below ``at_least``.

    A floating column is compared in its own dtype, so that a float32 0.7 passes a floor of 0.7.
    """

    why = "below the floor of tone"

    def __init__(self, index: ItemIndex, column: str, at_least: float) -> None:
        _need_column(index, column)
        self.index = index
        self.column = column
        self.at_least = at_least

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return _native.tone(_column(self.index, self.column, candidates), self.at_least)


class Quota(Filter):
    """At most ``at_most`` works of one value of ``column`` (a creator, a song), the best-scored ones. O(N log N)."""

    why = "over the quota of its group"

    def __init__(self, index: ItemIndex, column: str, at_most: int) -> None:
        _need_column(index, column)
        if at_most <= 0:
            raise ValueError(f"at_most must be positive, got {at_most}")
        self.index = index
        self.column = column
        self.at_most = at_most

    def keep(self, request: Request, candidates: Candidates) -> Array:
        return _native.quota(candidates.scores, _column(self.index, self.column, candidates), self.at_most)
