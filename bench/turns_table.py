"""How many requests with a deadline are in time, by the rule of who waits and who gives way: a model of one
worker.

    python bench/turns_table.py [requests, 100000]

One thread, requests of a Poisson process, times that vary by 12 %. Each takes ``whole`` ms, or ``least``
where its steps give way: where it may not take what whole requests take at most, the sum of the steps' p90, a
quarter more. Time is the model's own, so that the machine does not matter. Rules:

    turns      ``karec.serve.turns``, as the service has it
    sums       the same, where what a request needs is the sum of its steps' p90
    shares     each takes its share of what is left until its own deadline, as one of those that wait; it is
    refused
               where those before it, each at the mean of late, leave it too little
"""

from __future__ import annotations

import sys
from collections import deque

import numpy as np

from karec.serve.turns import Turn, Turns

DEADLINE_MS, LATE_MS, WAIT_MS = 50.0, 2.0, 100.0
SPREAD, MOST = 0.12, 1.25
CASES = ((14.2, 6.0), (18.0, 7.5), (20.0, 8.0), (20.0, 11.0))
LOADS = (0.5, 0.7, 0.8)


class Worker:
    """By one of the rules above."""

    def __init__(self, whole_ms: float, least_ms: float, rule: str) -> None:
        self.whole_ms, self.least_ms, self._by_turns = whole_ms, least_ms, rule != "shares"
        self._learns = rule == "turns"
        self._turns = Turns(1)
        self._waiting: deque[tuple[Turn, float]] = deque()
        self._running: tuple[Turn, float, float] | None = None  # until when, and how many ms it takes
        self.refused = self.late = self.whole = 0

    def comes(self, now: float, factor: float) -> None:
        self.goes_on(now)
        inside = len(self._waiting) + (self._running is not None)
        least_ms = self.least_ms * MOST * self._turns.share
        wait_ms = self._turns.waiting_ms(now, True) if self._by_turns else inside * self._turns.usual_ms
        if wait_ms > min(WAIT_MS, DEADLINE_MS - least_ms):
            self.refused += 1
            return
        turn = Turn(now + DEADLINE_MS / 1e3, least_ms)
        self._turns.comes(turn)
        self._waiting.append((turn, factor))
        self._begin(now)

    def goes_on(self, now: float) -> None:
        """What ends until ``now`` is over, and the next one has begun."""
        while self._running is not None and self._running[1] <= now:
            turn, ends, ms = self._running
            self._turns.is_over(turn, ms)
            self._running = None
            self._begin(ends)

    def _begin(self, now: float) -> None:
        if self._running is not None or not self._waiting:
            return
        turn, factor = self._waiting.popleft()
        self._turns.begins(turn, now)
        may_ms = turn.may_ms if self._by_turns else (turn.due - now) * 1e3 / (1 + len(self._waiting))
        is_whole = may_ms >= self.whole_ms * MOST
        ms = (self.whole_ms if is_whole else self.least_ms) * factor
        self.whole += is_whole
        self.late += now + ms / 1e3 > turn.due + LATE_MS / 1e3
        self._running = turn, now + ms / 1e3, ms
        if self._learns:
            self._turns.took(ms, (self.whole_ms if is_whole else self.least_ms) * MOST)


def played(whole_ms: float, least_ms: float, load: float, requests: int, rule: str) -> str:
    rng = np.random.default_rng(0)
    moments = np.cumsum(rng.exponential(whole_ms / load, requests)) / 1e3
    worker = Worker(whole_ms, least_ms, rule)
    for now, factor in zip(moments.tolist(), np.exp(rng.normal(0, SPREAD, requests)).tolist(), strict=True):
        worker.comes(now, factor)
    worker.goes_on(np.inf)
    shares = (
        np.array([requests - worker.refused - worker.late, worker.refused, worker.late, worker.whole])
        / requests
    )
    return "   ".join(f"{share:7.4f}" for share in shares)


def main(requests: int) -> None:
    print(f"a deadline of {DEADLINE_MS:g} ms; {requests} requests")
    print("whole ms  least ms  load  rule    in time   refused      late     whole")
    for whole_ms, least_ms in CASES:
        for load in LOADS:
            for rule in ("turns", "sums", "shares"):
                told = played(whole_ms, least_ms, load, requests, rule)
                print(f"{whole_ms:8g}  {least_ms:8g}  {load:4g}  {rule:6}  {told}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
