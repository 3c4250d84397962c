"""A service under load: its peak, a deadline at 70 % of it, five times as much, swaps with events, killed
workers.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # leaves two published
    versions OMP_NUM_THREADS=1 python bench/service_load_table.py HERE/karec.toml [seconds, 30]

Two workers of one thread each, on a copy of the bundles, state and events of their own. The load is `karec
load`, an open loop, from a process of its own on the same machine, which takes some of a core. Each part runs
so many seconds; the last two take turns on one service: a swap of ``current`` every ten, a SIGKILL of a
worker every five. The ids of acknowledged events are looked for in the log in the end. Memory is Pss of
parent and workers.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from serve_table import Client, pss, quiet_config, service

from karec.bundle import Bundle, make_current
from karec.config.scenes import Config
from karec.platform.event_log.events import Events
from karec.platform.event_log.reader import read_events

WORKERS, DEADLINE_MS, EVENTS_SHARE = 2, 50, 0.2
SWAP_S, KILL_S = 10.0, 5.0
MASK = 2**64 - 1


def load(port: int, users: Path, rate: float, seconds: float, *more: str) -> dict[str, Any]:
    """What `karec load` wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "load.json"
        command = [
            sys.executable,
            "-m",
            "karec.cli",
            "load",
            f"http://127.0.0.1:{port}",
            "--users",
            str(users),
        ]
        command += ["--rate", f"{rate:g}", "--seconds", f"{seconds:g}", "--out", str(out), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not out.exists():
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def told(name: str, found: dict[str, Any]) -> None:
    times, refused = found["latency_ms"]["from_moment"], found["refused_latency_ms"]["from_moment"]
    quantiles = "  ".join(f"{q} {times[q]:.1f}" for q in ("p50", "p99", "p99.9") if times[q] is not None)
    good = f"{found['goodput_per_s']:.1f} good a second ({found['good_share']:.4f})"
    print(f"{name}: {found['plan']['rate']:.0f} asked, {good}; {quantiles} ms")
    print(f"    statuses {found['statuses']}  degraded {found['degraded']}")
    if refused["p50"] is not None:
        print(
            "    refused after",
            *(f"{q} {refused[q]:.1f}" for q in ("p50", "p99") if refused[q] is not None),
            "ms",
        )
    if found["generator"]["fell_behind"]:
        print(f"    the generator itself fell behind: {found['generator']}")


@contextmanager
def again_and_again(every_s: float, act: Callable[[], None]) -> Iterator[None]:
    """``act`` on a thread, each ``every_s``, until the block ends."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(every_s):
            act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def swap(root: Path) -> None:
    versions = sorted(int(each.name[1:]) for each in root.iterdir() if each.name.startswith("v"))
    now = int((root / "current").resolve().name[1:])
    make_current(root, versions[(versions.index(now) + 1) % len(versions)])


def kill_one(parent: int) -> None:
    """SIGKILL to the worker that was begun first."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    if children:
        os.kill(int(children[0]), signal.SIGKILL)


def lost_of(taken: list[list[str]], folder: Path) -> tuple[int, int]:
    """(events in the log, those of the ids ``taken``, ranges of a report of `karec load`, that are not in
    it)."""
    until_ms = time.time_ns() // 1_000_000 + 60_000
    events = read_events(folder, 0, until_ms) if folder.exists() else Events.none()
    numbers = {
        source: np.unique(events.number[events.source == source])
        for source in np.unique(events.source).tolist()
    }
    lost = 0
    for first, last in ((UUID(a).int, UUID(b).int) for a, b in taken):
        there = numbers.get(first >> 64, np.empty(0, np.uint64))
        ends = np.array([first & MASK, last & MASK], np.uint64)
        lost += (
            last - first + 1 - int(np.diff(np.searchsorted(there, ends, side="left"))[0] + (ends[1] in there))
        )
    return len(events), lost


def own_copy(config: Path, folder: Path) -> tuple[Path, Path]:
    """(a karec.toml in ``folder``, its bundles): of one thread a worker, without observers, with events and
    state."""
    root = folder / "bundles"
    shutil.copytree(Config.read(config).bundle, root, symlinks=True)
    path = quiet_config(config, folder)
    text = path.read_text(encoding="utf-8").replace("wait_ms = 60_000", "wait_ms = 100")
    if "[live]" not in text:
        text += '\n[live]\nstate = "state"\nevents = "events"\n'
    path.write_text(text.replace(str(config.parent / "bundles"), str(root)), encoding="utf-8")
    return path, root


def main(config: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, root = own_copy(config, folder)
        with service(path, WORKERS) as (port, parent):
            run(port, parent, path, root, folder, seconds)


def run(port: int, parent: int, users: Path, root: Path, folder: Path, seconds: float) -> None:
    load(port, users, 20, 5)  # warms up
    climbed = load(port, users, 20, max(seconds / 4, 5), "--find-peak")
    peak = float(climbed["peak_goodput_per_s"])
    print(f"peak: {peak:.1f} answers a second of two workers")
    told(
        "70 % of peak, a deadline of 50 ms",
        load(port, users, 0.7 * peak, seconds, "--deadline-ms", f"{DEADLINE_MS}"),
    )
    told("5 × peak", load(port, users, 5 * peak, seconds))
    begun = time.perf_counter()
    answer = Client(port).ask(first_user(users), next(iter(Config.read(users).scenes)))
    what = "answered" if b'"items"' in answer else answer.decode()
    print(f"first request after it: {what}, {(time.perf_counter() - begun) * 1e3:.0f} ms")
    before = pss(parent)
    half = (port, users, peak / 2, 2 * seconds, "--events-share", f"{EVENTS_SHARE}")
    with again_and_again(SWAP_S, lambda: swap(root)):
        swapped = load(*half)
    told("half of peak, events, a swap every 10 s", swapped)
    print(f"    memory {before:.0f} → {pss(parent):.0f} MiB")
    with again_and_again(KILL_S, lambda: kill_one(parent)):
        killed = load(*half)
    told("half of peak, events, SIGKILL every 5 s", killed)
    taken = swapped["events_taken"] + killed["events_taken"]
    kept, lost = lost_of(swapped["events_taken_ids"] + killed["events_taken_ids"], folder / "events")
    print(
        f"    events acknowledged: {taken}; events in the log: {kept}; of the ids acknowledged are not in "
        f"it: {lost}"
    )


def first_user(config: Path) -> int:
    return int(Bundle.open(Config.read(config).bundle).snapshot.users.ids[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)
