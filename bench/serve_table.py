"""What HTTP adds to a request, and what a second worker adds to a service: requests a second, and memory.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/serve_table.py HERE/karec.toml [requests, 300] [seconds, 10]

Overhead: this process asks its own cascade and a service of one worker in turns, the same user first here,
then there, then the other way round; the difference of the two medians is what HTTP adds, JSON, queue and
threads included. Both run without observers, which work beside a request and not in it. The client is a
socket. Processor time is that of this thread and of all of the worker's: of other work on the machine it
knows caches alone. Workers, each of one thread: four connections send one request after the other; turns of
one and of two workers take each other's place. Memory is Pss of parent and workers: what processes share is
divided by their number.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import karec
from karec.config.scenes import Config

TURNS, CONNECTIONS, K = 3, 4, 10


@contextmanager
def service(config: Path, workers: int) -> Iterator[tuple[int, int]]:
    """(port, process id) of one that is ready."""
    command = [sys.executable, "-m", "karec.cli", "serve", "--config", str(config), "--port", "0"]
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+) ", process.stdout.readline())
        assert found is not None
        port = int(found.group(1))
        while sum(each["state"] == "ready" for each in status(port)) < workers:
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def status(port: int) -> list[dict[str, Any]]:
    workers: list[dict[str, Any]] = Client(port).get("/v1/status").get("workers", [])
    return workers


class Client:
    """One connection, which asks and waits."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> Any:
        return json.loads(self._call(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()))

    def ask(self, user: int, scene: str) -> bytes:
        body = b'{"user": %d, "k": %d, "scene": "%s"}' % (user, K, scene.encode())
        head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        return self._call(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))

    def _call(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        found = self._socket.recv(1 << 16)
        head, _, body = found.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
        while len(body) < length:
            body += self._socket.recv(1 << 16)
        return body


def quiet_config(config: Path, folder: Path) -> Path:
    """A copy without observers, of one thread a worker, whose state and events are its own."""
    text = config.read_text(encoding="utf-8")
    text = re.sub(
        r"(?ms)^observers = "
        r"\[.*?^\]\n",
        "",
        text,
    ).replace('"bundles"', f'"{config.parent / "bundles"}"', 1)
    path = folder / "karec.toml"
    path.write_text(
        "threads = 1\n" + re.sub(r"(?m)^threads = .*\n", "", text) + "\n[serve]\nwait_ms = 60_000\n",
        encoding="utf-8",
    )
    return path


def overhead(config: Path, users: list[int], requests: int) -> None:
    scene = next(iter(Config.read(config).scenes))
    with service(config, 1) as (port, _), karec.LiveCascade.from_config(config, scene) as live:
        cascade = replace(live.cascades[scene], observers=())
        client, worker = Client(port), (~int(status(port)[0]["pid"]) << 3) | 2  # the clock of the process
        here: list[tuple[float, float]] = []
        there: list[tuple[float, float]] = []
        for at in range(requests + 20):
            user = users[at % len(users)]

            def ask_here(user: int = user) -> None:
                cascade.run(karec.Request(user, k=K, scene=scene))

            def ask_there(user: int = user) -> None:
                client.ask(user, scene)

            turns = (ask_here, here, time.CLOCK_THREAD_CPUTIME_ID), (ask_there, there, worker)
            for ask, times, clock in turns[:: 1 if at % 2 else -1]:
                start, begun = time.clock_gettime(clock), time.perf_counter()
                ask()
                took = time.perf_counter() - begun
                times.append((took * 1e3, (time.clock_gettime(clock) - start) * 1e3))
        ours, theirs = np.array(here[20:]), np.array(there[20:])
        for name, of in (("cascade.run", ours), ("over HTTP", theirs)):
            middle, high, highest = np.quantile(of[:, 0], (0.5, 0.9, 0.99))
            cpu = np.median(of[:, 1])
            print(
                f"{name:12} median {middle:7.3f} ms   90 % {high:7.3f}   99 % {highest:7.3f}   processor "
                f"{cpu:7.3f}"
            )
        added = np.median(theirs, axis=0) - np.median(ours, axis=0)
        print(f"HTTP adds {added[0]:.3f} ms at the median, {added[1]:.3f} ms of processor time")


def pss(parent: int) -> float:
    """MiB of a parent and its children that live."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    kib = 0
    for pid in (parent, *map(int, children)):
        with suppress(OSError):  # it has been killed
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def throughput(port: int, scene: str, users: list[int], seconds: float) -> float:
    """Answers a second."""

    def ask_on(first: int) -> int:
        client = Client(port)
        end, n = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            answer = client.ask(users[(first + n) % len(users)], scene)
            assert b'"items"' in answer, answer
            n += 1
        return n

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(ask_on, range(0, CONNECTIONS * 100, 100))) / seconds


def more_workers(config: Path, scene: str, users: list[int], seconds: float) -> None:
    with service(config, 1) as one, service(config, 2) as two:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(TURNS):
            for workers, (port, _) in ((1, one), (2, two)):
                rates[workers].append(throughput(port, scene, users, seconds))
    for workers, found in rates.items():
        print(
            f"{workers} workers: {np.median(found):6.1f} requests a second "
            f"{[round(each, 1) for each in found]}"
        )
    print(f"two answer {np.median(rates[2]) / np.median(rates[1]):.2f} times as many")


def memory(config: Path, scene: str, users: list[int], seconds: float) -> None:
    """One service at a time: two would share the mapped files."""
    found = {}
    for workers in (1, 2):
        with service(config, workers) as (port, pid):
            before = pss(pid)
            throughput(port, scene, users, seconds)
            found[workers] = before, pss(pid)
    for at, when in enumerate(("ready", "after load")):
        one, two = found[1][at], found[2][at]
        more = 100 * (two - one) / one
        print(f"memory, {when}: one worker {one:.0f} MiB, two {two:.0f} MiB: the second {more:.0f} %")


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    snapshot = karec.config.open_bundle(config).snapshot
    users = np.random.default_rng(0).permutation(snapshot.users.ids)[:500].tolist()
    folder = Path(tempfile.mkdtemp(prefix="karec-serve-"))
    try:
        quiet = quiet_config(config, folder)
        overhead(quiet, users, requests)
        scene = next(iter(Config.read(quiet).scenes))
        memory(quiet, scene, users, seconds)
        more_workers(quiet, scene, users, seconds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
