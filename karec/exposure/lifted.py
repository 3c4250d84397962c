"""The boosts of a ledger's floors, kept up with what feeds show and with who is new in the index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karec.exposure.boosts import Boosts, Units
from karec.exposure.counters import ExposureCounters, Feed
from karec.exposure.guarantees import Library, newest_of_each
from karec.exposure.rates import Rates
from karec.index import ItemIndex
from karec.times import HOUR_MS

BOOST_MS = HOUR_MS // 60  # all boosts are made anew so often, by the same clock; others when they are shown
REFRESH_MS = HOUR_MS // 6  # who is new is read off the index so often, by the moments of requests


class Lifted:
    """``boosts``: those of ``ledger`` as it stands. One thread calls; what it reads is never written
    again."""

    def __init__(self, ledger: ExposureCounters, index: ItemIndex, rates: Rates) -> None:
        self._ledger, self._index, self._rates = ledger, index, rates
        self._library_ms: int | None = None
        self._units: list[Units] = [(np.empty(0, np.int64),) * 2 for _ in ledger.floors]
        self.anew()

    def anew(self) -> None:
        """Make all boosts anew: the ledger is another one."""
        ledger = self._ledger
        self.boosts = Boosts.of(ledger.floors, self._units, ledger.time_ms, ledger.law.bound, self._rates)
        self._made_of = self._hangs_on()

    def after(self, shown: Sequence[Feed]) -> None:
        """Bring the boosts up to the ledger: those of what was ``shown``, or all once they are a minute
        old."""
        ledger = self._ledger
        if not ledger.floors:
            return
        if self._made_of != self._hangs_on():
            self.anew()
            return
        works, creators = (
            np.concatenate([getattr(feed, name) for feed in shown]) for name in ("ids", "creators")
        )
        self.boosts = self.boosts.after(ledger.floors, works, creators, ledger.time_ms, ledger.law.bound)

    def look(self, now_ms: int) -> None:
        """Read off the index who is new, where that is due by the feeds' clock."""
        if not self._ledger.floors or (
            self._library_ms is not None and now_ms < self._library_ms + REFRESH_MS
        ):
            return
        self._library_ms = now_ms
        library = Library.of(self._index, self._ledger.names_creators)
        for i, counts in enumerate(self._ledger.floors):
            if counts.floor.of_works:
                keys, births = library.new_works(counts.floor.hours, now_ms)
                self._units[i] = keys, keys
                before = self._rates.shown(keys)
            else:
                keys, births, ids, creators, moments = library.new_creators(counts.floor.hours, now_ms)
                self._units[i] = newest_of_each(ids, creators, moments)
                before = np.bincount(np.searchsorted(keys, creators), self._rates.shown(ids), len(keys))
            counts.watch(keys, births, before, now_ms)

    def _hangs_on(self) -> tuple[object, ...]:
        """What changes all boosts at once: the minute, who is new, and whether a budget is spent."""
        spent = (counts.has_budget for counts in self._ledger.floors)
        return self._ledger.time_ms // BOOST_MS, self._library_ms, *spent
