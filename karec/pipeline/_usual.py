"""What each step of a cascade usually takes: running quantiles of its times, and of nothing else.

Estimate   A histogram of logarithms for each place: eight bins an octave from 1 µs to 2 minutes, so that a
           quantile is at most 9 % above the time that it stands for. Each time weighs 2^(1/128) as much as
           the one before: half of the weight is that of the last 128. The bin of ``QUANTILE`` moves with each
           time: O(1), 2 kB a place.
Forgotten  A place whose step is passed over for lack of time has no new times. After 64 passings in a row
           what was known is forgotten, and the step is tried again; after twice as many each time, at most
           4,096, until it has run 16 times since. So a slow minute does not leave a step out for good.
Threads    ``add`` never waits: times go into a queue, which one thread at a time works off. What comes in the
           moment in which it ends is worked off by the next ``add``. Reading takes no lock.
Fork       A child of ``os.fork`` knows what the parent knew.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from math import log2

QUANTILE = 0.9  # what a step usually takes: of ten times nine are below
SHOWN = (0.5, QUANTILE, 0.99)
PER_OCTAVE = 8
LEAST_MS = 1 / 1024
N_BINS = PER_OCTAVE * 27
# the upper end of each bin, ms
ABOVE = tuple(LEAST_MS * 2.0 ** ((at + 1) / PER_OCTAVE) for at in range(N_BINS))
GROWTH = 2.0 ** (1 / 128)
MOST_WEIGHT = 2.0**40
FIRST_PATIENCE, MOST_PATIENCE, SETTLED = 64, 4096, 16


class Usual:
    """The times of one place. ``ms``: the quantile ``QUANTILE`` of them; 0 while none is known."""

    __slots__ = ("_at", "_below", "_counts", "_passed", "_patience", "_since", "_total", "_weight", "ms")

    def __init__(self) -> None:
        self._patience = FIRST_PATIENCE
        self._forget()

    def _forget(self) -> None:
        self._counts = [0.0] * N_BINS
        self._weight, self._total = 1.0, 0.0
        self._at, self._below = 0, 0.0  # the bin of the quantile, and the weight in those before it
        self._passed = self._since = 0
        self.ms = 0.0

    def took(self, ms: float) -> None:
        """The step ran for ``ms``."""
        counts, weight = self._counts, self._weight
        at = min(max(int(log2(ms / LEAST_MS) * PER_OCTAVE), 0), N_BINS - 1) if ms > LEAST_MS else 0
        counts[at] += weight
        self._total += weight
        if at < self._at:
            self._below += weight
        share = QUANTILE * self._total
        while self._below + counts[self._at] < share:
            self._below += counts[self._at]
            self._at += 1
        while self._at and self._below >= share:
            self._at -= 1
            self._below -= counts[self._at]
        self.ms = ABOVE[self._at]
        self._weight = weight * GROWTH
        if self._weight > MOST_WEIGHT:
            self._counts = [count / MOST_WEIGHT for count in counts]
            self._weight /= MOST_WEIGHT
            self._total, self._below = sum(self._counts), sum(self._counts[: self._at])
        self._passed = 0
        self._since += 1
        if self._since == SETTLED:
            self._patience = FIRST_PATIENCE

    def passed_over(self) -> None:
        """The step did not run: there was no time for it."""
        self._passed += 1
        if self._passed >= self._patience:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
            self._forget()

    def quantiles(self, shares: Sequence[float] = SHOWN) -> dict[str, float]:
        """{"p90": ms} of each of ``shares``, rising; empty while no time is known."""
        counts, found = list(self._counts), {}
        total, below, at = sum(counts), 0.0, 0
        if not total:
            return {}
        for share in shares:
            while at < N_BINS - 1 and below + counts[at] < share * total:
                below += counts[at]
                at += 1
            found[f"p{share * 100:g}"] = ABOVE[at]
        return found

    def begin_from(self, other: Usual) -> None:
        """Know what ``other`` knows."""
        for name in self.__slots__:
            value = getattr(other, name)
            setattr(self, name, list(value) if isinstance(value, list) else value)


class UsualTimes:
    """Of all places of a cascade. Any thread may call any method."""

    def __init__(self) -> None:
        self._of: dict[str, Usual] = {}
        self._waiting: deque[Sequence[tuple[str, float | None]]] = deque()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._working = threading.Lock()

    def of(self, place: str) -> Usual:
        """The same object for the same place, always."""
        return self._of.get(place) or self._of.setdefault(place, Usual())

    def add(self, times: Sequence[tuple[str, float | None]]) -> None:
        """What one request took at each place, in ms; None: the place was passed over for lack of time."""
        self._waiting.append(times)
        if not self._working.acquire(blocking=False):
            return
        try:
            while self._waiting:
                for place, ms in self._waiting.popleft():
                    usual = self._of.get(place) or self.of(place)
                    if ms is None:
                        usual.passed_over()
                    else:
                        usual.took(ms)
        finally:
            self._working.release()

    def quantiles(self) -> Mapping[str, Mapping[str, float]]:
        """{place: {"p50": ms, "p90": ms, "p99": ms}} of the places of which a time is known."""
        found = {place: usual.quantiles() for place, usual in list(self._of.items())}
        return {place: of for place, of in found.items() if of}

    def begin_from(self, other: UsualTimes) -> None:
        """Know of each place what ``other`` knows of it, between two requests of it; before the first
        ``add``."""
        with other._working:  # what others add meanwhile waits for the next ``add``, nobody else does
            for place, usual in list(other._of.items()):
                self.of(place).begin_from(usual)


_all: weakref.WeakSet[UsualTimes] = weakref.WeakSet()


def _begin_in_child() -> None:
    for times in _all:
        times._begin()


os.register_at_fork(after_in_child=_begin_in_child)
