"""Measures how soon an event on one host is in the next page of another, over one Valkey server.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE
    OMP_NUM_THREADS=1 python bench/service/hosts.py HERE/karec.toml [trials, 100]

Two services with folders of their own share a server of this script (`valkey-server` or `redis-server`). In
each trial host A gets a block of the first item of a page of host B, or an impression of it, and pages
of B are requested until one lacks the item. The time counts from the acknowledgement; goal: at most 300 ms.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
from running import run_service, write_config

from karec.config import open_bundle, scene_names
from karec.config.scenes import Config

LIMIT_S, K = 10.0, 10


@contextmanager
def run_store(folder: Path) -> Iterator[str]:
    """Yields the URL of a server that syncs its append-only file at each commit."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise SystemExit("no valkey-server or redis-server is installed: apt-get install valkey-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen([program, *options, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
        yield f"valkey://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def write_host(config: Path, folder: Path, store: str) -> Path:
    folder.mkdir()
    bundles = Path(Config.read(config).bundle).absolute()
    return write_config(config, folder, bundles, max_queue_ms=60_000, store=store)


def measure_ms(a: httpx.Client, b: httpx.Client, user: int, scene: str, event: str) -> float:
    """Returns the time from the acknowledgement on A until B's page lacks the item."""

    def items() -> list[int]:
        request = {"user_id": user, "k": K, "scene": scene}
        page = b.post("/v1/recommend", json=request).raise_for_status().json()
        return [item["item_id"] for item in page["items"]]

    item_id = items()[0]
    row = {"event": event, "event_id": str(uuid4()), "item_id": item_id}
    if event == "impression":
        row |= {"user_id": user, "scene": scene}
    name = "events" if event == "impression" else "items"
    recorded = a.post(f"/v1/{name}", json={name: [row]}).raise_for_status().json()
    if recorded["events"] != 1:
        raise SystemExit(f"the event was refused: {recorded['refused']}")
    start = time.perf_counter()
    while True:
        page_start = time.perf_counter()
        if item_id not in items():
            return (page_start - start) * 1e3
        if page_start - start > LIMIT_S:
            raise SystemExit(f"the item was still in the page of the other host after {LIMIT_S:g} s")


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    n_trials = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    users = np.random.default_rng(0).permutation(open_bundle(config).snapshot.users.ids)[:n_trials].tolist()
    scene = scene_names(config)[0]
    with tempfile.TemporaryDirectory(prefix="karec-hosts-") as name, run_store(Path(name)) as store:
        paths = [write_host(config, Path(name) / host, store) for host in "ab"]
        with (
            run_service(paths[0], 1) as (url_a, _),
            run_service(paths[1], 1) as (url_b, _),
            httpx.Client(base_url=url_a) as a,
            httpx.Client(base_url=url_b) as b,
        ):
            for event in ("impression", "block"):
                ms = [measure_ms(a, b, user, scene, event) for user in users]
                p50, p99 = np.quantile(ms, (0.5, 0.99))
                print(f"{event}: {p50:.0f} ms at the median, p99 {p99:.0f}, at most {max(ms):.0f} ms")


if __name__ == "__main__":
    main()
