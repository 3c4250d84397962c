"""What became of each request of a run."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

LOST, TIMED_OUT, UNCONNECTED, WRONG = 0, -1, -2, -3  # in place of a status; others are those of HTTP
NAMES = {
    LOST: "connection lost",
    TIMED_OUT: "no answer in time",
    UNCONNECTED: "no connection",
    WRONG: "wrong answer",
}
UNKNOWN = float("nan")


@dataclass
class Records:
    """By request: ``due``, ``begun`` (the generator took it up), ``sent`` (a connection was free) and
    ``done``, seconds from the start of the run, NaN where it never came to that; ``status``; ``event`` 1: it
    reported events.

    ``degraded`` {name: answers}, ``refused`` {reason: events}; ``taken``: events; ``taken_ids``: first and
    last of the ids of each report of which all were taken; ``cpu_s``, ``wall_s``: of the generator, the whole
    run.
    """

    due: array[float]
    begun: array[float]
    sent: array[float]
    done: array[float]
    status: array[int]
    event: array[int]
    degraded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    taken_ids: list[tuple[int, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @classmethod
    def of(cls, due: list[float]) -> Records:
        n = len(due)
        begun, sent, done = (array("d", [UNKNOWN]) * n for _ in range(3))
        return cls(array("d", due), begun, sent, done, array("h", [TIMED_OUT]) * n, array("b", [0]) * n)
