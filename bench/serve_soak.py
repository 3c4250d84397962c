"""A service for hours: requests, events and swaps of the bundle every 10 s; in the second half a worker dies
every 5 s.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # leaves two published
    versions OMP_NUM_THREADS=1 python bench/serve_soak.py HERE/karec.toml --requests 1000000 --rate 500
    --cheap

Two workers of one thread each, on a copy of the bundles, state and events of their own. The load is `karec
load`, an open loop; a fifth of it reports exposures of feeds that it got. ``--cheap`` asks for a scene of two
steps, which stands many more requests a second: it is the service that is tried, and not its models. What
must hold, else the status is 1:

    no status but 200, and 503 of admission; while workers are killed also connections that break
    no answer to another request, of half a feed, or with a work twice
    every event that was acknowledged is in the log, by its id
    memory (Pss of parent and workers) at the end of the first half at most 100 MiB above that after a tenth
    of it
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_table import pss, service
from service_load_table import (
    EVENTS_SHARE,
    KILL_S,
    SWAP_S,
    WORKERS,
    again_and_again,
    kill_one,
    load,
    lost_of,
    own_copy,
    swap,
)

ALWAYS = {"200", "503"}
WHILE_KILLED = ALWAYS | {"connection lost", "no connection"}
MOST_MIB, LOOKS = 100.0, 10
CHEAP = """
[scenes.cheap]
recall = [{ use = "popular", quota = 100 }]
counts = { recall = 100 }
stages = [{ name = "rank", steps = [{ use = "top_k" }] }]
"""


@dataclass
class Half:
    """What became of one half: replies by status, Pss in MiB at even distances, events acknowledged."""

    name: str
    found: dict[str, Any] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)

    def play(self, parent: int, seconds: float, *call: Any) -> None:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(seconds / LOOKS):
                self.memory.append(pss(parent))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.found = load(*call)
        finally:
            over.set()
            watcher.join()
        self.memory.append(pss(parent))

    def told(self) -> str:
        times = self.found["latency_ms"]["from_moment"]
        quantiles = "  ".join(f"{q} {times[q]:.1f}" for q in ("p50", "p99", "p99.9") if times[q] is not None)
        memory = " → ".join(f"{mib:.0f}" for mib in self.memory[:: max(len(self.memory) // 5, 1)])
        return f"{self.name}: {self.found['statuses']}; {quantiles} ms; memory {memory} MiB"

    def wrong(self, allowed: set[str]) -> list[str]:
        odd = {status: n for status, n in self.found["statuses"].items() if status not in allowed}
        return [f"{self.name}: {odd}"] if odd else []


def soak(
    config: Path, folder: Path, requests: int, rate: float, cheap: bool = False
) -> tuple[list[Half], list[str]]:
    """(what became of the two halves; what does not hold)."""
    path, root = own_copy(config, folder)
    more: tuple[str, ...] = ("--events-share", f"{EVENTS_SHARE}")
    if cheap:
        path.write_text(path.read_text(encoding="utf-8") + CHEAP, encoding="utf-8")
        more += ("--scene", "cheap")
    seconds = requests / rate / 2
    calm, killed = Half("swaps and events"), Half("and SIGKILL")
    with service(path, WORKERS) as (port, parent):
        load(port, path, min(rate, 20.0), min(seconds, 5.0))  # warms up
        with ExitStack() as acts:
            acts.enter_context(again_and_again(SWAP_S, lambda: swap(root)))
            calm.play(parent, seconds, port, path, rate, seconds, *more)
            acts.enter_context(again_and_again(KILL_S, lambda: kill_one(parent)))
            killed.play(parent, seconds, port, path, rate, seconds, *more)
    print(calm.told(), killed.told(), sep="\n")
    acknowledged = calm.found["events_taken"] + killed.found["events_taken"]
    kept, lost = lost_of(calm.found["events_taken_ids"] + killed.found["events_taken_ids"], folder / "events")
    grown = calm.memory[-1] - calm.memory[0]
    print(
        f"events acknowledged {acknowledged}, in the log {kept}, lost {lost}; memory grew by {grown:.0f} MiB"
    )
    wrong = [*calm.wrong(ALWAYS), *killed.wrong(WHILE_KILLED)]
    if lost or kept < acknowledged:
        wrong.append(
            f"{acknowledged} events were acknowledged, {kept} are in the log, {lost} of their ids are not"
        )
    if grown > MOST_MIB:
        wrong.append(f"memory grew by {grown:.0f} MiB, at most {MOST_MIB:.0f} are wanted")
    return [calm, killed], wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=30.0, help="a second (default 30)")
    parser.add_argument(
        "--cheap", action="store_true", help="a scene of two steps in place of the file's first"
    )
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="karec-soak-") as folder:
        _, wrong = soak(
            arguments.config.absolute(), Path(folder), arguments.requests, arguments.rate, arguments.cheap
        )
    print(
        f"{arguments.requests} requests in {time.monotonic() - begun:.0f} s:", "; ".join(wrong) or "all holds"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
