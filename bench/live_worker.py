"""One worker of ``workers_table.py``: a ``LiveCascade`` in a process of its own, and how the table speaks
with it.

python bench/live_worker.py KAREC.TOML      # a command a line on standard input, an answer a line of output
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import karec
from karec._memory import give_back_freed
from karec.config import scene_names


def work(config: Path) -> None:
    """Answers commands until standard input ends."""
    scene = scene_names(config)[0]
    with karec.LiveCascade.from_config(config, scene, watch_seconds=0.5) as live:
        gc.collect()
        gc.freeze()  # as docs/howto-live.md tells a host
        print("ready", flush=True)
        for line in sys.stdin:
            name, told = json.loads(line)
            print(json.dumps(COMMANDS[name](live, scene, told)), flush=True)


def pss(live: karec.LiveCascade, scene: str, told: Any) -> float:
    """MiB of this process: its share of what it shares, and what is its own."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    kib = {line.split()[0].rstrip(":"): int(line.split()[1]) for line in lines[1:]}
    return kib["Pss"] / 1024


def in_use(live: karec.LiveCascade, scene: str, told: Any) -> float:
    """The same once the allocator has given back what was freed."""
    give_back_freed()
    return pss(live, scene, told)


def serve(live: karec.LiveCascade, scene: str, told: Any) -> dict[str, Any]:
    """Requests at a fixed rate for ``seconds``: their milliseconds since each was due, those of them that
    their thread computed, those that the request before took longer, and those that it waited for a core. The
    rest it waited for Python's lock, or for another thread. ``beside``: what other threads of the process
    computed while it ran.
    """
    users, now = live.cascades[scene].bundle.snapshot.users.ids, told["now"]
    rng, begun = np.random.default_rng(told["seed"]), time.monotonic()
    spent, own, late, core, beside = (list[float]() for _ in range(5))
    degraded, versions = 0, set[int]()
    while (due := begun + len(spent) / told["a_second"]) < begun + told["seconds"]:
        late.append(max(time.monotonic() - max(due, begun), 0.0) * 1e3)
        waited = waited_for_a_core()
        time.sleep(max(due - time.monotonic(), 0.0))
        used, used_by_all = time.thread_time(), time.process_time()
        feed = live.run(karec.Request(int(rng.choice(users)), 10, scene, time_ms=now))
        spent.append((time.monotonic() - max(due, begun)) * 1e3)
        own.append((time.thread_time() - used) * 1e3)
        beside.append((time.process_time() - used_by_all) * 1e3 - own[-1])
        core.append(waited_for_a_core() - waited)
        degraded += bool(feed.degraded)
        versions.add(int(feed.versions["model"]))
    parts = {"ms": spent, "own": own, "late": late, "core": core, "beside": beside}
    return {**parts, "degraded": degraded, "versions": sorted(versions)}


def waited_for_a_core() -> float:
    """Milliseconds in which this thread could have run, and another one had the core."""
    return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e6


def until(live: karec.LiveCascade, scene: str, told: Any) -> float:
    """The moment at which this worker shows what it is asked for."""
    cascade = live.cascades[scene]
    index, live_state = cascade.bundle.index, cascade.live
    zero = np.zeros(index.dim, np.float32)

    def shown() -> bool:
        ids = [told["work"]]
        if told["what"] == "event":
            view, _ = live_state.view(told["user"])
            return view.user is not None and told["work"] in view.user.lists["liked"].values
        if told["what"] == "upload":
            return bool(index.lookup(ids)[0] >= 0)
        if told["what"] == "adjustment":
            return bool(index.scores(zero, ids=ids)[0] == told["offset"])
        return bool(
            np.array_equal(index.embeddings(index.lookup(ids))[0], np.array(told["vector"], np.float32))
        )

    while not shown():
        time.sleep(0.003)
    return time.monotonic()


COMMANDS = {"pss": pss, "in_use": in_use, "serve": serve, "until": until}


class Worker:
    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, name: str, told: Any = None) -> None:
        assert self.process.stdin is not None
        print(json.dumps([name, told]), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return line if line == "ready\n" else json.loads(line)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def all_of(workers: list[Worker], name: str, told: list[Any]) -> list[Any]:
    for worker, each in zip(workers, told, strict=True):
        worker.ask(name, each)
    return [worker.answer() for worker in workers]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
