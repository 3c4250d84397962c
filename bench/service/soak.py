"""Sends requests and events during hot swaps, and in the second half kills workers.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # two versions
    OMP_NUM_THREADS=1 python bench/service/soak.py HERE/karec.toml --requests 50000 --rate 30

Two workers with one thread each serve a copy of the bundles with an online store of their own. The load is
open loop (load.py); a fifth of the requests reports impressions. `current` changes every 10 s, and in the
second half a worker gets SIGKILL every 5 s. The status is 1 unless all of this holds:

    every status is 200, or 503 of admission; while workers are killed, connections may break
    no page belongs to another request or repeats an item
    every acknowledged event is in the store, and no event is in it twice
    memory (Pss of parent and workers) grows by at most 100 MiB in the first half, after its first tenth
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from load import Load, Plan
from running import pss_mib, run_service, stored_event_ids, worker_pids, write_config

from karec.bundle import make_current
from karec.config import open_bundle
from karec.config.scenes import Config

WORKERS, EVENTS_FRACTION, MAX_GROWTH_MIB = 2, 0.2, 100.0
SWAP_S, KILL_S = 10.0, 5.0
EXPECTED = {"200", "503"}
STORE = "sqlite:online.db"


@contextmanager
def call_repeatedly(period_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` on a thread until the block ends."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(period_s):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def swap(root: Path) -> None:
    """Makes the next published version current."""
    versions = sorted(int(path.name[1:]) for path in root.glob("v*"))
    current = int((root / "current").resolve().name[1:])
    make_current(root, versions[(versions.index(current) + 1) % len(versions)])


def play(name: str, plan: Plan, parent: int) -> tuple[Load, float]:
    """Returns the load, and the growth of memory in MiB after its first tenth."""
    asyncio.run(Load(replace(plan, seconds=plan.seconds / 10)).run())
    load, start_mib = Load(plan), pss_mib(parent)
    print(f"{name}: {asyncio.run(load.run())}")
    return load, pss_mib(parent) - start_mib


def find_failures(load: Load, expected: set[str], stored: Counter[str]) -> list[str]:
    odd = {status: n for status, n in load.statuses.items() if status not in expected}
    lost = sum(event_id not in stored for event_id in load.acknowledged)
    return [f"statuses {odd}"] * bool(odd) + [f"{lost} acknowledged events are lost"] * bool(lost)


def soak(config: Path, folder: Path, n_requests: int, rate: float) -> list[str]:
    """Runs both halves. Returns a message for each condition that does not hold."""
    root = folder / "bundles"
    shutil.copytree(Config.read(config).bundle, root, symlinks=True)
    path = write_config(config, folder, root, max_queue_ms=100, store=STORE)
    with run_service(path, WORKERS) as (url, parent), ExitStack() as acts:
        users = open_bundle(path).snapshot.users.ids.tolist()
        plan = Plan(url, users, rate, n_requests / rate / 2, events_fraction=EVENTS_FRACTION)
        acts.enter_context(call_repeatedly(SWAP_S, lambda: swap(root)))
        calm, growth_mib = play("swaps", plan, parent)
        acts.enter_context(call_repeatedly(KILL_S, lambda: os.kill(worker_pids(parent)[0], signal.SIGKILL)))
        with_kills, _ = play("swaps and kills", plan, parent)
    stored = Counter(stored_event_ids(STORE, folder))
    failures = find_failures(calm, EXPECTED, stored)
    failures += find_failures(with_kills, EXPECTED | {"no answer"}, stored)
    if repeated := stored.total() - len(stored):
        failures.append(f"{repeated} events are in the store twice")
    if growth_mib > MAX_GROWTH_MIB:
        failures.append(f"memory grew by {growth_mib:.0f} MiB, limit {MAX_GROWTH_MIB:.0f}")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=30.0, help="requests per second (default 30)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="karec-soak-") as folder:
        failures = soak(options.config.absolute(), Path(folder), options.requests, options.rate)
    print("\n".join(failures) or "all conditions hold")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
