"""The time that a request has left, and what takes its substitute for it.

A request is a list of units in a fixed order: steps, or stages that have one substitute as a whole. Before a
unit that has a substitute, the time left is compared with what all units from there usually take
(``karec.pipeline._usual``). Where it is less, units give way, the earliest first, until the rest fits; then,
the latest first, those run after all that still fit. So nothing gives way that need not, and of two it is the
earlier one: what runs later decides more of the feed. What cannot fit at all runs on substitutes alone, and
the answer is late.

Cost       O(units) for a decision, and none where the request has no deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from karec.pipeline._usual import Usual
from karec.pipeline.trace import NoTime

Clock = Callable[[], float]  # seconds, from any moment on


@dataclass(frozen=True)
class Unit:
    """What runs or gives way as a whole: its place, its steps' times, its substitute's times; None: it has
    none."""

    place: str
    steps: tuple[tuple[str, Usual], ...]
    substitute: tuple[Usual, ...] | None = None

    @property
    def ms(self) -> float:
        return sum(usual.ms for _, usual in self.steps)

    @property
    def least_ms(self) -> float:
        if self.substitute is None:
            return self.ms
        return min(self.ms, sum(usual.ms for usual in self.substitute))


class Budget:
    """Of one request: ``ends`` by ``clock``, None for as long as it takes. It belongs to the request's
    thread."""

    __slots__ = ("_at", "_ends", "_units", "clock", "passed")

    def __init__(
        self, clock: Clock = time.perf_counter, ends: float | None = None, units: Sequence[Unit] = ()
    ) -> None:
        self.clock, self._ends, self._units = clock, ends, units
        self._at = 0
        self.passed: list[str] = []  # places of steps that gave way

    def done(self) -> None:
        """The next unit is over."""
        self._at += 1

    def short(self, ahead: int = 0) -> NoTime | None:
        """Why the next unit, or one ``ahead`` of it, takes its substitute; None: it runs."""
        if self._ends is None or self._units[self._at + ahead].substitute is None:
            return None
        rest = self._units[self._at :]
        left = (self._ends - self.clock()) * 1e3
        if ahead not in giving_way(rest, left):
            return None
        self.passed += [place for place, _ in rest[ahead].steps]
        return NoTime(rest[ahead].place, left, sum(unit.ms for unit in rest))

    def spare_ms(self, ahead: int) -> float | None:
        """What is left for the next ``ahead`` units when those after them take as little as they can, at
        least 0; None: no end."""
        if self._ends is None:
            return None
        after = sum(unit.least_ms for unit in self._units[self._at + ahead :])
        return max((self._ends - self.clock()) * 1e3 - after, 0.0)


def giving_way(units: Sequence[Unit], left_ms: float) -> set[int]:
    """Which of ``units`` take their substitutes when ``left_ms`` is left for all."""
    ms = [unit.ms for unit in units]
    total = sum(ms)
    saved = {at: ms[at] - unit.least_ms for at, unit in enumerate(units) if unit.substitute is not None}
    giving: list[int] = []
    for at, saving in saved.items():
        if total <= left_ms:
            break
        giving.append(at)
        total -= saving
    if total > left_ms:
        return set(giving)
    kept = set(giving)
    for at in reversed(giving):
        if total + saved[at] <= left_ms:
            kept.discard(at)
            total += saved[at]
    return kept
