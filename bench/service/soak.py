"""Soaks a service: requests, events and hot swaps; in the second half workers are killed.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # two versions
    OMP_NUM_THREADS=1 python bench/service/soak.py HERE/karec.toml --requests 50000 --rate 30

Two workers with one thread each serve a copy of the bundles, with an online store of their
own. The load is open loop (load.py); a fifth of the requests reports impressions. `current` changes every
10 s, and in the second half a worker gets SIGKILL every 5 s. The status is 1 unless all of this holds:

    every status is 200, or 503 of admission; while workers are killed, connections may break
    no page belongs to another request or repeats an item
    every acknowledged event is in the store, by its id
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from load import Load, Plan
from running import pss_mib, run_service, write_config

from karec.aggregates.events import Events
from karec.bundle import make_current
from karec.config import open_bundle
from karec.config.scenes import Config
from karec.online.read_log import read_log

WORKERS, EVENTS_FRACTION, MAX_GROWTH_MIB, SAMPLES = 2, 0.2, 100.0, 10
SWAP_S, KILL_S = 10.0, 5.0
ALWAYS = {"200", "503"}
WHILE_KILLED = ALWAYS | {"no answer"}


@contextmanager
def call_repeatedly(every_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` on a thread every `every_s` seconds until the block ends."""
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
    """Makes the next published version current."""
    versions = sorted(int(each.name[1:]) for each in root.iterdir() if each.name.startswith("v"))
    now = int((root / "current").resolve().name[1:])
    make_current(root, versions[(versions.index(now) + 1) % len(versions)])


def kill_one(parent: int) -> None:
    """Sends SIGKILL to the oldest worker."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    workers = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if workers:
        os.kill(workers[0], signal.SIGKILL)


def missing_events(loads: list[Load], path: Path) -> int:
    """Number of acknowledged events whose ids are not in the online store."""
    events = read_log(f"sqlite:{path}")[1] if path.exists() else Events.empty()
    ids = zip(events.source.tolist(), events.number.tolist(), strict=True)
    stored = {str(UUID(int=source << 64 | number)) for source, number in ids}
    return sum(event_id not in stored for load in loads for event_id in load.acknowledged)


def own_service(config: Path, folder: Path) -> tuple[Path, Path]:
    """Returns a karec.toml in `folder` that uses nothing outside it, and the folder of its bundles."""
    root = folder / "bundles"
    shutil.copytree(Config.read(config).bundle, root, symlinks=True)
    path = write_config(config, folder, root, max_queue_ms=100)
    text = path.read_text(encoding="utf-8")
    if "[online]" not in text:
        path.write_text(text + '\n[online]\nurl = "sqlite:online.db"\n', encoding="utf-8")
    return path, root


@dataclass
class Half:
    """Results of one half; `memory` is Pss in MiB at equal intervals."""

    name: str
    load: Load
    memory: list[float] = field(default_factory=list)

    def play(self, parent: int) -> None:
        with call_repeatedly(self.load.plan.seconds / SAMPLES, lambda: self.memory.append(pss_mib(parent))):
            report = asyncio.run(self.load.run())
        self.memory.append(pss_mib(parent))
        samples = " → ".join(f"{mib:.0f}" for mib in self.memory[:: max(len(self.memory) // 5, 1)])
        print(f"{self.name}: {report}; memory {samples} MiB")

    def unexpected(self, allowed: set[str]) -> list[str]:
        odd = {status: n for status, n in self.load.statuses.items() if status not in allowed}
        return [f"{self.name}: {odd}"] if odd else []


def soak(config: Path, folder: Path, requests: int, rate: float) -> tuple[list[Half], list[str]]:
    """Runs both halves. Returns them, and a message for each condition that does not hold."""
    path, root = own_service(config, folder)
    with run_service(path, WORKERS) as (url, parent):
        users = open_bundle(path).snapshot.users.ids.tolist()
        plan = Plan(url, users, rate, requests / rate / 2, events_fraction=EVENTS_FRACTION)
        calm, killed = Half("swaps and events", Load(plan)), Half("and SIGKILL", Load(plan))
        with ExitStack() as acts:
            acts.enter_context(call_repeatedly(SWAP_S, lambda: swap(root)))
            calm.play(parent)
            acts.enter_context(call_repeatedly(KILL_S, lambda: kill_one(parent)))
            killed.play(parent)
    failures = [*calm.unexpected(ALWAYS), *killed.unexpected(WHILE_KILLED)]
    if missing := missing_events([calm.load, killed.load], folder / "online.db"):
        failures.append(f"{missing} acknowledged events are not in the log")
    if (grown := calm.memory[-1] - calm.memory[0]) > MAX_GROWTH_MIB:
        failures.append(f"memory grew by {grown:.0f} MiB, limit {MAX_GROWTH_MIB:.0f}")
    return [calm, killed], failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--rate", type=float, default=30.0, help="requests per second (default 30)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="karec-soak-") as folder:
        _, failures = soak(given.config.absolute(), Path(folder), given.requests, given.rate)
    print("\n".join(failures) or "all conditions hold")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
