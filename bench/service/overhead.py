"""Measures what HTTP adds to a request, the first page of a service, and what a second worker adds in memory.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/service/overhead.py HERE/karec.toml [requests, 500]

This process runs its own cascade and calls a service with one worker in turns, for the same users; the
first of the two alternates. The difference of the medians is what HTTP adds. Processor time is that of the
worker, less that of this process without its HTTP client. Memory is the Pss of the parent and its workers
after the same number of requests.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
from running import cpu_ms, pss_mib, run_service, worker_pids, write_config

import karec
from karec.config import open_bundle, open_hot_swap, scene_names
from karec.config.scenes import Config

K, N_WARM = 10, 20


def print_overhead(config: Path, users: list[int], n_requests: int) -> None:
    scene = scene_names(config)[0]
    with (
        run_service(config, 1) as (url, pid),
        closing(HTTPConnection(url.removeprefix("http://"))) as http,
        open_hot_swap(config, scene) as live,
    ):
        calls = {
            "cascade.run": lambda user: live.run(karec.Request(user, k=K, scene=scene)),
            "over HTTP": lambda user: recommend(http, user, scene),
        }
        (worker,) = worker_pids(pid)
        ms: dict[str, list[float]] = {name: [] for name in calls}
        client_ms = 0.0
        for i in range(n_requests + N_WARM):
            if i == N_WARM:
                worker_ms, own_ms, client_ms = cpu_ms(worker), time.process_time() * 1e3, 0.0
            for name, call in list(calls.items())[:: 1 if i % 2 else -1]:
                start, client_start = time.perf_counter(), time.thread_time()
                call(users[i % len(users)])
                ms[name].append((time.perf_counter() - start) * 1e3)
                client_ms += (time.thread_time() - client_start) * 1e3 if name == "over HTTP" else 0.0
        added_cpu_ms = cpu_ms(worker) - worker_ms - (time.process_time() * 1e3 - own_ms - client_ms)
    median = {name: np.median(values[N_WARM:]) for name, values in ms.items()}
    for name, values in ms.items():
        p50, p90, p99 = np.quantile(values[N_WARM:], (0.5, 0.9, 0.99))
        print(f"{name:12} p50 {p50:7.3f}   p90 {p90:7.3f}   p99 {p99:7.3f} ms")
    first_ms = ms["over HTTP"][0]
    print(
        f"first page after the start {first_ms:.1f} ms, {first_ms / median['over HTTP']:.2f} times the median"
    )
    added_ms = median["over HTTP"] - median["cascade.run"]
    print(f"HTTP adds {added_ms:.3f} ms at the median, {added_cpu_ms / n_requests:.3f} ms of processor time")


def recommend(http: HTTPConnection, user: int, scene: str) -> None:
    body = json.dumps({"user_id": user, "k": K, "scene": scene})
    http.request("POST", "/v1/recommend", body, {"content-type": "application/json"})
    response = http.getresponse()
    page = response.read()
    if response.status != HTTPStatus.OK:
        raise SystemExit(page.decode())


def print_memory(config: Path, users: list[int], n_requests: int) -> None:
    scene = scene_names(config)[0]
    memory = []
    for workers in (1, 2):
        with run_service(config, workers) as (url, pid):
            for i in range(n_requests):
                # a new connection may meet the other worker
                with closing(HTTPConnection(url.removeprefix("http://"))) as http:
                    recommend(http, users[i % len(users)], scene)
            memory.append(pss_mib(pid))
    print(f"memory: {memory[0]:.0f} MiB with 1 worker, {memory[1]:.0f} MiB with 2")


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    n_requests = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    users = np.random.default_rng(0).permutation(open_bundle(config).snapshot.users.ids)[:500].tolist()
    with tempfile.TemporaryDirectory(prefix="karec-overhead-") as folder:
        bundles = Path(Config.read(config).bundle).absolute()
        own = write_config(config, Path(folder), bundles, max_queue_ms=60_000)
        print_overhead(own, users, n_requests)
        print_memory(own, users, n_requests)


if __name__ == "__main__":
    main()
