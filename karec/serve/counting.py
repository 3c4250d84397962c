"""What a worker counts of its answers."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any

from karec.types import Recommendation


class Counts:
    """Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._ms = 0.0

    def answered(self, answer: Recommendation, ms: float) -> None:
        with self._lock:
            self._counts["answered"] += 1
            self._counts["degraded"] += bool(answer.degraded)
            self._ms += ms

    def refused(self, reason: str) -> None:
        with self._lock:
            self._counts["refused"] += 1

    def text(self) -> bytes:
        with self._lock:
            lines = [f'karec_requests_total{{outcome="{name}"}} {n}' for name, n in self._counts.items()]
        return ("\n".join(["# TYPE karec_requests_total counter", *lines]) + "\n").encode()

    def status(self) -> dict[str, Any]:
        with self._lock:
            return {"counts": dict(self._counts)}
