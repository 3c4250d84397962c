"""Runs a service in processes of its own, for the scripts in this folder."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import httpx

from karec.online.store.online_store import START
from karec.online.store.open import open_store

START_S = 120.0
MAX_EVENTS = 10_000  # of one poll


@contextmanager
def run_service(config: Path, workers: int) -> Iterator[tuple[str, int]]:
    """Yields (URL, process id) when all workers are ready."""
    command = [sys.executable, "-m", "karec.cli", "serve", str(config), "--port", "0"]
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+:\d+", process.stdout.readline())
        if match is None:
            raise SystemExit("the service did not start; its message is above")
        wait_for_workers(match.group(), workers)
        yield match.group(), process.pid
    finally:
        process.terminate()
        process.wait()


def wait_for_workers(url: str, workers: int) -> None:
    """Returns when `workers` processes have responded. A new connection may reach another process."""
    ready, end = set(), time.monotonic() + START_S
    while len(ready) < workers:
        if time.monotonic() > end:
            raise SystemExit(f"{len(ready)} of {workers} workers became ready within {START_S:g} s")
        with suppress(httpx.TransportError):
            response = httpx.get(f"{url}/v1/status")
            ready |= {response.json()["pid"]} if response.status_code == 200 else set()


def write_config(
    config: Path, folder: Path, bundles: Path, *, max_queue_ms: int, store: str = "sqlite:online.db"
) -> Path:
    """Copies a karec.toml into `folder`, where it writes its files. Workers have one thread."""
    text = config.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^bundle = ".*"$', f'bundle = "{bundles}"', text, count=1)
    text = re.sub(r"(?m)^threads = .*\n", "", text)
    text = re.sub(r"(?m)^\[(?:online|serve)\]\n(?:(?!\[).*\n?)*", "", text)
    tables = f'[online]\nurl = "{store}"\n\n[serve]\nmax_queue_ms = {max_queue_ms}\n'
    path = folder / "karec.toml"
    path.write_text(f"threads = 1\n{text}\n{tables}", encoding="utf-8")
    return path


def stored_event_ids(url: str, folder: Path) -> list[str]:
    """Returns the ids of all events in an online store; a repeated event would occur twice."""
    store = open_store(url, folder)
    ids: list[str] = []
    cursor = START
    while len((stored := store.poll(cursor, MAX_EVENTS)).events):
        numbers = zip(stored.events.source.tolist(), stored.events.number.tolist(), strict=True)
        ids += [str(UUID(int=source << 64 | number)) for source, number in numbers]
        cursor = stored.cursor
    store.close()
    return ids


def worker_pids(parent: int) -> list[int]:
    """Returns the workers of a service, the oldest first."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def cpu_ms(pid: int) -> float:
    """Returns the processor time of the threads of a process that still run."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text(encoding="utf-8").split()[0]) for path in threads) / 1e6


def pss_mib(parent: int) -> float:
    """Returns the Pss of a process and its children: n processes that share a page count 1/n of it."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()
    kib = 0
    for pid in (parent, *map(int, children)):
        with suppress(OSError):  # a worker may end between the two reads
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024
