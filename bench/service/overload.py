"""Measures goodput at five times the peak rate of a service.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/service/overload.py HERE/karec.toml [seconds, 30] [deadline in ms, 150]

The peak is the rate at which a few connections get pages one after the other. Then open-loop load (load.py)
arrives at a constant rate of five times the peak, and all requests carry the deadline. Goal: at least 90 %
of the peak is answered within the deadline, and so is the p99 of the answers.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import httpx
from load import Load, Plan
from running import run_service, write_config

from karec.config import open_bundle
from karec.config.scenes import Config

WORKERS, CONNECTIONS, OVERLOAD = 1, 2, 5


def measure_peak(url: str, users: Sequence[int], seconds: float) -> float:
    """Returns pages per second over a few connections."""

    def send(start: int) -> int:
        n_pages, end = 0, time.perf_counter() + seconds
        with httpx.Client(base_url=url) as http:
            for user in cycle(users[start:]):
                if time.perf_counter() > end:
                    break
                n_pages += http.post("/v1/recommend", json={"user_id": user}).status_code == 200
        return n_pages

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(send, range(0, CONNECTIONS * 100, 100))) / seconds


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    deadline_ms = float(sys.argv[3]) if len(sys.argv) > 3 else 150.0
    users = open_bundle(config).snapshot.users.ids.tolist()
    with tempfile.TemporaryDirectory(prefix="karec-overload-") as folder:
        bundles = Path(Config.read(config).bundle).absolute()
        own = write_config(config, Path(folder), bundles, max_queue_ms=100)
        with run_service(own, WORKERS) as (url, _):
            measure_peak(url, users, 5.0)  # warm up
            peak = measure_peak(url, users, seconds)
            plan = Plan(url, users, OVERLOAD * peak, seconds, deadline_ms=deadline_ms)
            result = asyncio.run(Load(plan).run())
            next_page = httpx.post(f"{url}/v1/recommend", json={"user_id": users[0]}).status_code
    goodput = result["goodput_per_s"]
    print(f"peak {peak:.1f} pages/s; at {OVERLOAD} times this rate: {result}")
    print(f"goodput is {goodput / peak:.0%} of the peak (goal: at least 90 %)")
    print(f"p99 of the answers {result['p99_ms']:.0f} ms, deadline {deadline_ms:.0f} ms")
    print(f"status of the next request: {next_page}")


if __name__ == "__main__":
    main()
