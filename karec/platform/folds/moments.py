"""The rule "strictly before": (row, moment) as one integer, to be found by bisection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.types import Array


@dataclass(frozen=True, eq=False)
class MomentKeys:
    """Keys sort by row, then by moment. Every row has one key for what it held before all exposures, then one for each
    of the distinct ``moments`` of the M exposures; ``rank (M,)`` is which of them each exposure has.
    """

    moments: Array
    rank: Array

    @classmethod
    def of(cls, time_ms: Array) -> MomentKeys:
        moments, rank = np.unique(time_ms, return_inverse=True)
        return cls(moments, rank)

    def at_start(self, rows: Array) -> Array:
        """The key of what ``rows (N,)`` held before all exposures, the smallest of each row."""
        return rows * (len(self.moments) + 1)

    def of_exposures(self, rows: Array, places: Array) -> Array:
        """The keys of the exposures ``places (N,)`` in the rows ``rows (N,)``."""
        return self.at_start(rows) + 1 + self.rank[places]

    def before(self, rows: Array, as_of: Array) -> Array:
        """The bound of ``rows (N,)`` at ``as_of (N,)`` ms: smaller keys of the row are strictly before that moment."""
        return self.at_start(rows) + 1 + np.searchsorted(self.moments, as_of)
