"""What threads that ask at once cost in memory and give in requests a second, with and without a bound on how
many run.

    karec demo --works 400000 --users 20000 --exposures 60000 --requests 5 --out HERE
    python bench/load_memory.py HERE/karec.toml                       # the table by number of threads
    python bench/load_memory.py HERE/karec.toml --where               # where the memory of 16 threads is
    python bench/load_memory.py HERE/karec.toml --threads 16 --requests 2000 --rounds 1

Every row is a process of its own. For each number of threads two of them take turns, one as shipped (as many
requests run at once as there are cores), one in which all threads' requests run at once, so that other work
on the machine meets both alike; in a turn each thread runs ``--requests`` requests. MiB are RSS: the highest
of all turns (VmHWM), and what that is above the process's RSS after ``N_WARM`` requests on one thread.
Requests a second are medians over turns, their ratios also by processor time: where other work keeps the
cores busy, the clock favours more runnable threads. Needs Linux and glibc.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

N_THREADS = (1, 2, 4, 8, 16)
N_REQUESTS = 40  # of each thread in a turn
N_ROUNDS = 5
ALL_AT_ONCE = 10_000  # slots
CORES = "as many as cores"

WORKER = """
import ctypes, json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
import onnxruntime
import karec
from karec.config import load_cascade
from karec.models import onnx_model

config, n_threads, n_requests, slots, how = Path(sys.argv[1]), *map(int, sys.argv[2:5]), sys.argv[5]
N_WARM, FIRST_USER, N_USERS = 200, 10_000_001, 20_000
libc = ctypes.CDLL(None)
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks used free keepcost".split()

class Malloc(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]

libc.mallinfo2.restype = Malloc

class NoArena(onnxruntime.SessionOptions):
    def __init__(self):
        super().__init__()
        self.enable_cpu_mem_arena = False

class Shrinks(onnxruntime.InferenceSession):
    def run(self, outputs, inputs):
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return super().run(outputs, inputs, options)

if how == "no ONNX arena":
    onnxruntime.SessionOptions = NoArena
if how == "ONNX arena shrunk after each run":
    onnxruntime.InferenceSession = Shrinks

def status(kind):
    line = next(line for line in open("/proc/self/status") if line.startswith(kind))
    return int(line.split()[1]) / 1024

def malloc():
    found = libc.mallinfo2()  # blocks of their own, such as those of the ONNX arena, beside glibc's arenas
    return {"used": (found.used + found.hblkhd) / 2**20, "free": found.free / 2**20}

cascade = load_cascade(config, "home")
if how == "no observers":
    cascade = replace(cascade, observers=())
cascade = replace(cascade, threads=slots or None)
moment = cascade.bundle.snapshot.time_ms
for user in range(N_WARM):
    cascade.run(karec.Request(FIRST_USER + user, time_ms=moment, request_id=f"warm {user}"))
for observer in cascade.observers:
    observer.flush()
open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins anew
begin = {"rss": status("VmRSS"), **malloc()}
print(json.dumps(begin), flush=True)

barrier = threading.Barrier(n_threads + 1)

def turn(thread, at):
    barrier.wait()
    for i in range(n_requests):
        user = (thread * 997 + at * n_requests + i) % N_USERS
        cascade.run(karec.Request(FIRST_USER + user, time_ms=moment, request_id=f"{at} {thread} {i}"))
    barrier.wait()

pool = ThreadPoolExecutor(n_threads)  # its threads live from turn to turn
for at, line in enumerate(sys.stdin):
    turns = [pool.submit(turn, thread, at) for thread in range(n_threads)]
    barrier.wait()
    start, cpu, most = time.perf_counter(), time.process_time(), 0
    while line.strip() == "sample" and barrier.n_waiting < n_threads:
        most = max(most, malloc()["used"])
        time.sleep(0.02)
    barrier.wait()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    for each in turns:
        each.result()
    n = n_threads * n_requests
    found = {"per_second": n / seconds, "per_cpu_second": n / cpu, "most_used": most, **malloc()}
    found |= {"rss": status("VmRSS"), "highest": status("VmHWM")}
    print(json.dumps(found), flush=True)
libc.malloc_trim(0)
print(json.dumps({"trimmed": status("VmRSS")}), flush=True)
cascade.close()
"""


@dataclass
class Side:
    """A process that serves turns. ``slots`` 0: as shipped."""

    config: Path
    threads: int
    requests: int
    slots: int
    how: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [str(number) for number in (self.threads, self.requests, self.slots)]
        command = [sys.executable, "-c", WORKER, str(self.config), *numbers, self.how]
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.begin = self._told()
        self.turns: list[dict[str, float]] = []

    def turn(self, command: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self.turns.append(self._told())

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.trimmed = self._told()["trimmed"]
        self.process.wait()

    def _told(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process ended early; its error stands above")
        return dict(json.loads(line))

    @property
    def highest(self) -> float:
        """MiB above what the process had before its turns."""
        return max(turn["highest"] for turn in self.turns) - self.begin["rss"]

    @property
    def per_second(self) -> float:
        return statistics.median(turn["per_second"] for turn in self.turns)


def ratio(sides: list[Side], kind: str) -> str:
    """Median and quartiles of the turns' ratios, the first side's figure over the second's."""
    ratios = sorted(a[kind] / b[kind] for a, b in zip(*(side.turns for side in sides), strict=True))
    n = len(ratios)
    return f"{statistics.median(ratios):.3f} ({ratios[n // 4]:.3f} … {ratios[3 * n // 4]:.3f})"


def by_threads(config: Path, threads: list[int], requests: int, rounds: int) -> None:
    print(f"{'':10}{CORES:>42}{'all at once':>42}")
    columns = f"{'RSS, MiB':>10}{'grown':>8}{'trimmed':>9}{'requests/s':>13}"
    print(f"{'threads':10}  {columns}  {columns}   ratio of requests/s, of requests a processor second")
    grown: dict[int, list[float]] = {}
    for n in threads:
        sides = [Side(config, n, requests, slots) for slots in (0, ALL_AT_ONCE)]
        for at in range(rounds):
            for side in sides if at % 2 == 0 else sides[::-1]:
                side.turn()
        for side in sides:
            side.end()
        grown[n] = [side.highest for side in sides]
        row = "".join(
            f"  {side.begin['rss'] + side.highest:10.0f}{side.highest:8.0f}"
            f"{side.trimmed - side.begin['rss']:9.0f}{side.per_second:13.1f}"
            for side in sides
        )
        middle = ", ".join(ratio(sides, kind) for kind in ("per_second", "per_cpu_second"))
        print(f"{n:<10}{row}   {middle}", flush=True)
    first, last = threads[0], threads[-1]
    if first < last:
        slopes = [(b - a) / (last - first) for a, b in zip(grown[first], grown[last], strict=True)]
        print(f"MiB a thread, from {first} to {last}: {slopes[0]:.1f} {CORES}, {slopes[1]:.1f} all at once")


def where(config: Path, n: int, requests: int, rounds: int) -> None:
    print(f"{n} threads, MiB; in use and free are glibc's counts")
    print(f"{'':58}{'grown':>7}{'in flight':>11}{'in use after':>14}{'free after':>12}{'requests/s':>12}")
    hows: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("no observers", {}),
        ("no ONNX arena", {}),
        ("ONNX arena shrunk after each run", {}),
        ("MALLOC_ARENA_MAX=2", {"MALLOC_ARENA_MAX": "2"}),
        ("MALLOC_TRIM_THRESHOLD_=131072", {"MALLOC_TRIM_THRESHOLD_": "131072"}),
    ]
    for slots, called in ((ALL_AT_ONCE, "all at once"), (0, CORES)):
        for how, environment in hows:
            side = Side(config, n, requests, slots, how, environment)
            for _ in range(rounds):
                side.turn("sample")
            side.end()
            last = side.turns[-1]
            flight = max(turn["most_used"] for turn in side.turns) - last["used"]
            after = last["used"] - side.begin["used"], last["free"] - side.begin["free"]
            print(f"{called + (', ' + how if how else ''):58}{side.highest:7.0f}{flight:11.0f}", end="")
            print(f"{after[0]:14.0f}{after[1]:12.0f}{side.per_second:12.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a karec.toml of karec demo")
    parser.add_argument(
        "--where", action="store_true", help="where the memory is, in place of the table by threads"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=list(N_THREADS))
    parser.add_argument("--requests", type=int, default=N_REQUESTS)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # for the rank log
        config = Path(folder) / "karec.toml"
        config.write_text(arguments.config.read_text(encoding="utf-8"), encoding="utf-8")
        (Path(folder) / "bundles").symlink_to(arguments.config.resolve().parent / "bundles")
        measure = where if arguments.where else by_threads
        numbers = arguments.threads[-1] if arguments.where else arguments.threads
        measure(config, numbers, arguments.requests, arguments.rounds)


if __name__ == "__main__":
    main()
