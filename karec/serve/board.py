"""What each worker is doing, in memory that parent and workers share: made before the first fork, one row a
worker.

Each row is written by its worker, and by the parent while there is none. A reader may see a row half written.
What a worker counted here is there when it is killed, and the one in its place counts on.
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
LANES = "recommend", "aside"
TOO_MANY, TOO_LONG = "too many at once", "would wait too long"
COUNTS = "answered", TOO_MANY, TOO_LONG
LANE = np.dtype([("inside", "i8"), ("threads", "i8"), ("usual_ms", "f8"), *((name, "i8") for name in COUNTS)])


class Board:
    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers * (ROW.itemsize + len(LANES) * LANE.itemsize))
        self.rows: Any = np.frombuffer(self._memory, ROW, workers)
        lanes: Any = np.frombuffer(self._memory, LANE, offset=self.rows.nbytes)
        self._lanes = lanes.reshape(workers, len(LANES))

    def lane(self, worker: int, name: str) -> Any:
        """The row of numbers of one of its lanes, with nothing inside."""
        row = self._lanes[worker, LANES.index(name)]
        row["inside"] = 0
        return row

    def put(self, worker: int, **values: Any) -> None:
        for name, value in values.items():
            self.rows[name][worker] = value

    def enter(self, worker: int, state: int, pid: int) -> None:
        self.put(worker, pid=pid, since_s=time.time(), state=state)
        if state == ABSENT:
            self._lanes[worker]["inside"] = self._lanes[worker]["threads"] = 0

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

    def admission(self) -> dict[str, Any]:
        """{lane: of living workers what is inside, on how many threads, and what a call took of late; of all
        there ever were what was answered and refused}."""
        found = {}
        for name, rows in zip(LANES, self._lanes.T, strict=True):
            usual = rows["usual_ms"][(rows["threads"] > 0) & (rows["usual_ms"] > 0)]
            found[name] = {
                "inside": int(rows["inside"].sum()),
                "threads": int(rows["threads"].sum()),
                "usual_ms": round(float(usual.mean()), 3) if len(usual) else 0.0,
                "counts": {count: int(rows[count].sum()) for count in COUNTS},
            }
        return found
