"""Folds of events per second: offline over arrays, online into a store.

    OMP_NUM_THREADS=1 python bench/fold_table.py [events, 10_000_000]

Offline: every fold over exposures in order of time, on one core: built, and read before each exposure (an
as-of join for each row). Online: an event log of exposures, already on the disk, folded in batches into an
empty store in this process, into LMDB in a temporary folder, and into a redis-server of its own where there
is one; then what a request pays to read a user, and the delay from an append to a read that has it. Users are
drawn uniformly, works by Zipf's law. Where other work shares the machine, read the figures by this process's
own time (``process_time``): offline they are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scoring_table import Table

from karec.platform.event_log.events import EXPOSURE, Events
from karec.platform.event_log.head import Head
from karec.platform.event_log.tail import EventTail
from karec.platform.event_log.writer import EventLogWriter
from karec.platform.folds.counters import BY_USER, BY_USER_SCENE, BY_WORK
from karec.platform.folds.lists import FOLLOWS, HISTORY, LIKED, SHOWN, SKIPPED
from karec.platform.folds.located import LocatedEvents
from karec.platform.folds.recent import RECENT_BY_WORK
from karec.platform.snapshot import FORMER_MEANING, Snapshot
from karec.platform.state.folded import Folded
from karec.platform.state.opening import open_store
from karec.platform.state.reader import StateReader
from karec.platform.state.store import StateStore
from karec.platform.state.writer import AT_ONCE, StateWriter
from karec.platform.table import Table as Rows

USERS, WORKS, CREATORS = 200_000, 100_000, 5_000
LABELS = ("click", "long_view", "like", "follow")
RATES = (0.3, 0.2, 0.03, 0.005)
START = 1_790_000_000_000
HEAD = Head(LABELS, ("home",))
ONLINE = 300_000


def platform() -> Snapshot:
    works = Rows(np.arange(WORKS), {"creator_id": np.arange(WORKS) % CREATORS})
    return Snapshot(START, works, Rows(np.arange(USERS), {}), {}, {"scene": ["home"]}, None, FORMER_MEANING)


def exposures(n: int) -> Events:
    rng = np.random.default_rng(0)
    labels = sum((rng.random(n) < rate).astype(np.uint64) << np.uint64(bit) for bit, rate in enumerate(RATES))
    return Events.of(
        np.full(n, EXPOSURE, np.uint8),
        source=1,
        number=np.arange(n),
        time_ms=START + np.arange(n) // 10,
        user_id=rng.integers(0, USERS, n),
        item_id=(rng.zipf(1.2, n) - 1) % WORKS,
        scene=0,
        labels=labels,
    )


def seconds(run: Callable[[], object], times: int = 3) -> float:
    """The shortest of some runs, by this process's own time, after one that compiles."""
    run()
    spent = []
    for _ in range(times):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return min(spent)


def offline(table: Table, n: int) -> None:
    base = platform()
    happened = exposures(n)
    located = LocatedEvents.of_rows(
        base, HEAD, happened, happened.user_id, happened.item_id, happened.item_id
    )
    counters = Folded(base, HEAD).counters
    for fold in (HISTORY, SKIPPED, LIKED, FOLLOWS, SHOWN):
        spent = seconds(lambda fold=fold: fold.over_time(base, located).at(located.user, located.time_ms))
        table.row(
            f"{fold.name}, before each exposure", n / spent / 1e6, "≥ 10", n / spent >= 1e7, "1e6 events/s"
        )
    for by in (BY_USER, BY_WORK, BY_USER_SCENE):
        rows = getattr(located, by.by)
        spent = seconds(
            lambda by=by, rows=rows: by.over_time(base, located, counters).at(rows, located.time_ms)
        )
        name = f"{len(counters)} counters by {by.by}, before each exposure"
        table.row(name, n / spent / 1e6, "≥ 10", n / spent >= 1e7, "1e6 events/s")
    spent = seconds(
        lambda: RECENT_BY_WORK.over_time(located, counters, WORKS).at(located.work, located.time_ms)
    )
    name = f"{len(counters)} fading counters by work, before each exposure"
    table.row(name, n / spent / 1e6, "≥ 10", n / spent >= 1e7, "1e6 events/s")


def online(table: Table, folder: Path, name: str, store: StateStore, target: float | None) -> None:
    folded = Folded(platform(), HEAD)
    writer, tail = StateWriter(store, folded), EventTail(folder / "log")
    writer.follow(tail, AT_ONCE)  # compiles
    start, n, cpu = time.perf_counter(), 0, time.process_time()
    while more := writer.follow(tail, AT_ONCE):
        n += more
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    said = "-" if target is None else f"≥ {target / 1e4:g}"
    note = f"1e4 events/s of {n:,}; {n / cpu / 1e4:.1f} a second of this process's own time"
    table.row(f"events into {name}", n / spent / 1e4, said, target is None or n / spent >= target, note)
    reader = StateReader(store, folded)
    users = np.random.default_rng(1).integers(0, USERS, 500).tolist()
    ms = []
    for user in users:
        begin = time.perf_counter()
        reader.user(user)
        ms.append(1e3 * (time.perf_counter() - begin))
    most, median = (2.0 if name == "Redis" else 1.0), float(np.median(ms))
    table.row(f"one user from {name}: median", median, f"≤ {most:g}", median <= most, "ms")
    log, tail = EventLogWriter(folder / "log", HEAD), EventTail(folder / "log", writer.cursor)
    delays = []
    for at in range(200):
        one = exposures(1)
        number = np.array([10**9 + at], np.uint64)
        one = Events(**{**one.__dict__, "number": number})
        begin = time.perf_counter()
        log.append(one, START + 1_000_000)
        writer.follow(tail)
        reader.user(int(one.user_id[0]))
        delays.append(1e3 * (time.perf_counter() - begin))
    log.close()
    note = f"ms; slowest {max(delays):.1f}"
    median = float(np.median(delays))
    table.row(f"append, fold into {name}, read: median", median, "≤ 50", median <= 50, note)
    writer.follow(tail)


def main() -> None:
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    table = Table()
    offline(table, n)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        happened = exposures(ONLINE + AT_ONCE)
        log = EventLogWriter(folder / "log", HEAD, fsync="seal")
        start = time.perf_counter()
        for at in range(0, len(happened), 1000):
            log.append(happened.take(slice(at, at + 1000)), START + 1_000_000)
        spent = time.perf_counter() - start
        table.row(
            "appended, 1,000 at once", len(happened) / spent / 1e4, "-", True, "1e4 events/s, fsync = seal"
        )
        log.close()
        stores = {"memory": "memory:", "LMDB": str(folder / "state")}
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is not None:
            quiet = ["--port", "0", "--unixsocket", f"{folder}/s", "--save", "", "--dir", str(folder)]
            server = subprocess.Popen([program, *quiet], stdout=subprocess.PIPE, text=True)
            stack.callback(server.kill)
            assert server.stdout is not None
            if not any("Ready to accept connections" in line for line in server.stdout):
                raise SystemExit(f"{program} did not start")
            stores["Redis"] = f"unix://{folder}/s"
        for name, address in stores.items():
            online(table, folder, name, open_store(address), 5e4 if name == "LMDB" else None)


if __name__ == "__main__":
    main()
