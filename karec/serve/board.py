"""What each worker is doing, in memory that parent and workers share: made before the first fork, one row a worker.

Each row is written by its worker, and by the parent while there is none. A reader may see a row half written.
"""

from __future__ import annotations

import mmap
import time
from typing import Any

import numpy as np

ABSENT, STARTING, READY, DRAINING = range(4)
NAMES = ("absent", "starting", "ready", "draining")
ROW = np.dtype(
    {
        "names": ["pid", "state", "since_s", "deaths", "reloads", "refused", "why"],
        "formats": ["i8", "i8", "f8", "i8", "i8", "i8", "S240"],
    }
)


class Board:
    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * ROW.itemsize)
        self.rows: Any = np.frombuffer(self._memory, ROW)

    def put(self, worker: int, **values: Any) -> None:
        for name, value in values.items():
            self.rows[name][worker] = value

    def enter(self, worker: int, state: int, pid: int) -> None:
        self.put(worker, pid=pid, since_s=time.time(), state=state)

    def any_in(self, state: int) -> bool:
        return bool((self.rows["state"] == state).any())

    def told(self) -> list[dict[str, Any]]:
        """Each worker in plain values."""
        found = []
        for row in self.rows:
            values = {name: row[name].item() for name in ROW.names or ()}
            values |= {"state": NAMES[values["state"]], "why": values["why"].decode("utf-8", "ignore")}
            found.append(values)
        return found
