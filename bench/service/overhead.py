"""Measures what HTTP adds to a request, and what a second worker adds in requests per second and memory.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/service/overhead.py HERE/karec.toml [requests, 300] [seconds, 10]

This process runs its own cascade and calls a service with one worker in turns, for the same users; the
first of the two alternates. The difference of the medians is what HTTP adds. Workers have one thread each;
four connections send one request after the other. Memory is the Pss of the parent and its workers: shared
pages are divided by the number of processes.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import karec
from karec.config import open_bundle, open_hot_swap, scene_names
from karec.config.scenes import Config

TURNS, CONNECTIONS, K, WARM = 3, 4, 10, 20


class Client:
    """One connection that sends a request after the answer to the one before."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(self, path: str) -> Any:
        self._connection.request("GET", path)
        return json.loads(self._connection.getresponse().read())

    def recommend(self, user: int, scene: str) -> bytes:
        body = json.dumps({"user": user, "k": K, "scene": scene})
        self._connection.request("POST", "/v1/recommend", body, {"content-type": "application/json"})
        return self._connection.getresponse().read()


@contextmanager
def service(config: Path, workers: int) -> Iterator[tuple[int, int]]:
    """Runs a service and returns (port, process id) when all workers are ready."""
    command = [sys.executable, "-m", "karec.cli", "serve", "--config", str(config), "--port", "0"]
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+) ", process.stdout.readline())
        if found is None:
            raise SystemExit("the service did not start; its message is above")
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


def own_config(config: Path, folder: Path, bundles: Path, wait_ms: int) -> Path:
    """Copies a karec.toml into `folder`, where it writes logs and state. Workers have one thread."""
    text = config.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^bundle = ".*"$', f'bundle = "{bundles}"', text, count=1)
    text = re.sub(r"(?m)^threads = .*\n", "", text)
    path = folder / "karec.toml"
    path.write_text(f"threads = 1\n{text}\n[serve]\nmax_queue_ms = {wait_ms}\n", encoding="utf-8")
    return path


def pss_mib(parent: int) -> float:
    """Pss of a process and its children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    kib = 0
    for pid in (parent, *map(int, children)):
        with suppress(OSError):  # a worker may end between the two reads
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def print_overhead(config: Path, users: list[int], requests: int) -> None:
    scene = scene_names(config)[0]
    with service(config, 1) as (port, _), open_hot_swap(config, scene) as live:
        client = Client(port)
        calls = {
            "cascade.run": lambda user: live.run(karec.Request(user, k=K, scene=scene)),
            "over HTTP": lambda user: client.recommend(user, scene),
        }
        ms: dict[str, list[float]] = {name: [] for name in calls}
        for at in range(requests + WARM):
            for name, call in list(calls.items())[:: 1 if at % 2 else -1]:
                start = time.perf_counter()
                call(users[at % len(users)])
                ms[name] += [(time.perf_counter() - start) * 1e3] if at >= WARM else []
    for name, each in ms.items():
        quantiles = np.quantile(each, (0.5, 0.9, 0.99))
        print(f"{name:12} p50 {quantiles[0]:7.3f}   p90 {quantiles[1]:7.3f}   p99 {quantiles[2]:7.3f} ms")
    print(f"HTTP adds {np.median(ms['over HTTP']) - np.median(ms['cascade.run']):.3f} ms at the median")


def throughput(port: int, scene: str, users: list[int], seconds: float) -> float:
    """Pages per second over `CONNECTIONS` connections."""

    def send(first: int) -> int:
        client, end, n = Client(port), time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            page = client.recommend(users[(first + n) % len(users)], scene)
            assert b'"items"' in page, page
            n += 1
        return n

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(send, range(0, CONNECTIONS * 100, 100))) / seconds


def print_second_worker(config: Path, users: list[int], seconds: float) -> None:
    scene = scene_names(config)[0]
    memory: dict[int, float] = {}
    for workers in (1, 2):  # one service at a time: two services would share the mapped files
        with service(config, workers) as (port, pid):
            throughput(port, scene, users, seconds)
            memory[workers] = pss_mib(pid)
    rates: dict[int, list[float]] = {1: [], 2: []}
    with service(config, 1) as one, service(config, 2) as two:
        for _ in range(TURNS):
            for workers, (port, _) in ((1, one), (2, two)):
                rates[workers].append(throughput(port, scene, users, seconds))
    for workers, each in rates.items():
        print(f"{workers} workers: {np.median(each):6.1f} pages/s, {memory[workers]:.0f} MiB after load")
    gain = np.median(rates[2]) / np.median(rates[1])
    print(f"ratio of pages/s {gain:.2f}, of memory {memory[2] / memory[1]:.2f}")


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    users = np.random.default_rng(0).permutation(open_bundle(config).snapshot.users.ids)[:500].tolist()
    with tempfile.TemporaryDirectory(prefix="karec-overhead-") as folder:
        own = own_config(config, Path(folder), Path(Config.read(config).bundle).absolute(), wait_ms=60_000)
        print_overhead(own, users, requests)
        print_second_worker(own, users, seconds)


if __name__ == "__main__":
    main()
