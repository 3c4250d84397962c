"""Many processes, one library: memory of each, how soon all know what one is told, and requests while much is
written.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # leaves two published
    versions OMP_NUM_THREADS=1 python bench/workers_table.py HERE/karec.toml [workers, 1,2,4] [seconds, 10]

For 1, 2 and 4 worker processes on a copy of the bundles: each is a ``LiveCascade`` of the first scene. Its
memory is Pss: what processes share is divided by their number. Another process appends to the log, or writes
a refreshed shard as ``karec refresh`` does; the time is from then until the last worker shows it, asked every
few milliseconds: the median and the longest of 10. Then the workers answer four requests a second together,
in turns without and with a load: ``karec refresh`` with a quarter of a core, 1,000 uploads a second, and in
each turn one swap to the other version. Turns take each other's place, so that other work on the machine
meets all alike. Of the slowest requests it says what they waited for: the request before, a core, which other
processes may have, or else, mostly Python's lock; and of all requests how long other threads of their process
computed while they ran. That is processor time, and says more than the clock on a busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from live_platform import NEW, Platform
from live_worker import Worker, all_of

from karec.bundle import Bundle
from karec.bundle.spaces import PRERANK
from karec.platform.event_log.writer import EventLogWriter
from karec.refresh.pace import Pace
from karec.refresh.rolling import refreshing
from karec.refresh.shards import shards_in

TIMES, TURNS, A_SECOND, UPLOADS = 10, 3, 4, 1000
REFRESH, WRITES, SWAP = "a refresh", "uploads", "a swap"
NOTHING, ALL = "nothing", "all three"
GOAL = {ALL: "≤ 1.5"}
LOADS = {
    NOTHING: set[str](),
    REFRESH: {REFRESH},
    WRITES: {WRITES},
    SWAP: {SWAP},
    ALL: {REFRESH, WRITES, SWAP},
}


def soon(platform: Platform, workers: list[Worker], log: EventLogWriter) -> None:
    """From what is told until the last worker shows it."""
    bundle = Bundle.open(platform.root, verify=False)
    works, users = bundle.snapshot.works.ids, bundle.snapshot.users.ids
    like = log.head.labels.index("like")
    for what in ("event", "upload", "adjustment", "shard"):
        spent = []
        for at in range(TIMES):
            told: dict[str, Any] = {"what": what, "work": int(works[at]), "user": int(users[at])}
            if what == "upload":
                told["work"] = NEW + (1 << 40) + at
            if what == "adjustment":
                told["offset"] = 2.0 + at
            if what == "shard":
                told |= shard(bundle, platform)
                began = told.pop("began")
                moments = all_of(workers, "until", [told] * len(workers))
            else:
                for worker in workers:
                    worker.ask("until", told)
                began = time.monotonic()
                if what == "event":
                    platform.tell(
                        log, "label", user_id=told["user"], item_id=told["work"], labels=1 << like, scene=0
                    )
                elif what == "upload":
                    platform.tell(log, "upload", item_id=told["work"], creator_id=3)
                else:
                    text = json.dumps({"scale": 0.0, "offset": told["offset"]})
                    platform.tell(log, "adjust", item_id=told["work"], text=np.array([text], object))
                moments = [worker.answer() for worker in workers]
            spent.append(max(moments) - began)
        row(
            f"{what}: all know it",
            f"{np.median(spent):.2f} s, longest {max(spent):.2f}",
            "≤ 2 s",
            max(spent) <= 2,
        )


def shard(bundle: Bundle, platform: Platform) -> dict[str, Any]:
    """Writes one more shard of the round, of 1,000 works: when it was there, a work of it and its vector."""
    left = iter([True])
    with refreshing(bundle) as refresh:
        begun = refresh.begin(platform.now + 60_000 * (1 + platform.number), 1000)
        refresh.run(begun, Pace(1.0), goes_on=lambda: next(left, False))
        made = [each for each in shards_in(refresh.library) if not each.ends_round][-1]
        began = made.path.stat().st_mtime
    index = made.index(PRERANK.index)
    assert index is not None
    return {
        "began": time.monotonic() - (time.time() - began),
        "work": int(index.ids[0]),
        "vector": index.embeddings(index.lookup(index.ids[:1]))[0].tolist(),
    }


def under_load(platform: Platform, workers: list[Worker], log: EventLogWriter, seconds: float) -> None:
    """Turns without a load, with each part of it, and with all of it."""
    parts_of = {part: defaultdict[str, list[float]](list) for part in ("ms", "own", "late", "core", "beside")}
    ms = parts_of["ms"]
    degraded, served, told = 0, set[int](), 0
    for turn in range(TURNS):
        for load, parts in LOADS.items():
            before = platform.number
            with loaded(platform, log, parts, seconds):
                asked = [
                    {"seconds": seconds, "now": platform.now, "seed": 100 * turn + at, "a_second": rate}
                    for at, rate in enumerate([A_SECOND / len(workers)] * len(workers))
                ]
                for answer in all_of(workers, "serve", asked):
                    for part, of in parts_of.items():
                        of[load] += answer[part]
                    degraded += answer["degraded"]
                    served |= {*answer["versions"]}
            told += platform.number - before if load == ALL else 0
    for load in LOADS:
        p50, p99 = (float(np.percentile(ms[load], at)) for at in (50, 99))
        ratio = p99 / float(np.percentile(ms[NOTHING], 99))
        slow = np.argsort(ms[load])[-max(len(ms[load]) // 20, 1) :]
        whole, own, late, core, _ = (float(np.mean(np.array(of[load])[slow])) for of in parts_of.values())
        row(
            f"p50, p99 beside {load}",
            f"{p50:4.0f} {p99:5.0f} ms, {ratio:.2f} ×",
            GOAL.get(load, ""),
            ratio <= 1.5,
        )
        rest = whole - own - late - core
        said = f"{own:.0f} ms computed, waited {late:.0f} in line, {core:.0f} for a core, {rest:.0f} else"
        print(f"    the slowest twentieth: {said}")
        print(
            f"    all: {np.mean(parts_of['beside'][load]):.1f} ms computed by other threads of the process "
            f"meanwhile"
        )
    n, rate = sum(map(len, ms.values())), told / (TURNS * seconds)
    print(f"    {n} requests, {degraded} degraded, versions {sorted(served)}, {rate:,.0f} uploads/s")


@contextmanager
def loaded(platform: Platform, log: EventLogWriter, parts: set[str], seconds: float) -> Iterator[None]:
    """The block runs beside these parts of a load."""
    ended = Event()
    with ExitStack() as stack:
        if REFRESH in parts:
            command = [sys.executable, "-m", "karec.cli", "refresh", str(platform.root)]
            refresh = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(refresh.wait)
            stack.callback(refresh.terminate)
        writing = Thread(target=_write, args=(platform, log, parts, seconds, ended))
        writing.start()
        stack.callback(writing.join)
        stack.callback(ended.set)
        yield


def _write(platform: Platform, log: EventLogWriter, parts: set[str], seconds: float, ended: Event) -> None:
    begun, n, swapped = time.monotonic(), 0, False
    while not ended.wait(0.05):
        passed = time.monotonic() - begun
        due = int(min(passed, seconds) * UPLOADS) - n
        if due > 0 and WRITES in parts:
            platform.tell(log, "upload", due, item_id=NEW + platform.number + np.arange(due), creator_id=3)
            n += due
        if not swapped and SWAP in parts and passed > seconds / 2:
            platform.change_version()
            swapped = True


def row(what: str, value: str, goal: str, met: bool) -> None:
    print(f"{what:36} {value:34} {goal:8} {'' if not goal else 'yes' if met else 'NO'}", flush=True)


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    numbers = [int(each) for each in (sys.argv[2] if len(sys.argv) > 2 else "1,2,4").split(",")]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    for n in numbers:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            platform = Platform(config, Path(name))
            workers = [Worker(platform.config) for _ in range(n)]
            for worker in workers:
                stack.callback(worker.stop)
            for worker in workers:
                worker.answer()
            print(f"\n{n} workers, {config}")
            log = stack.enter_context(platform.log())
            all_of(
                workers,
                "serve",
                [{"seconds": 3, "now": platform.now, "seed": at, "a_second": 1} for at in range(n)],
            )
            row("Pss a worker", f"{np.mean(all_of(workers, 'pss', [None] * n)):.0f} MiB", "", True)
            soon(platform, workers, log)
            under_load(platform, workers, log, seconds)
            for what, said in (("pss", "afterwards"), ("in_use", "without what was freed")):
                row(f"Pss a worker {said}", f"{np.mean(all_of(workers, what, [None] * n)):.0f} MiB", "", True)


if __name__ == "__main__":
    main()
