"""Measures the latency of acknowledgements of an online store.

    python bench/service/store.py sqlite|valkey [--seconds 10] [--users 20000]

Two processes append posts of 10 events at 100 and 300 posts a second in total, by a schedule that does not
wait for replies. A post has one user; it reads and writes six state values of 5,000 bytes. A time counts
from the moment when the post is due. SQLite syncs each commit (FULL) or does not (NORMAL). This script starts
the Valkey or Redis server, and measures both values of `appendfsync`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from karec.aggregates.events import Events
from karec.online.store.online_store import OnlineStore, Read, StateUpdate
from karec.online.store.records import keys_of
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import ValkeyStore
from karec.online.store.valkey_partitions import USER_LETTERS

sys.path.append(str(Path(__file__).parents[2] / "tests" / "fixtures"))
from valkey_server import ValkeyServer

N_EVENTS = 10
VALUE_BYTES = 5000
N_PROCESSES = 2
THREADS = 8


def rewrite_state(events: Events, read_state: Read) -> StateUpdate:
    """Reads and writes six values of each user."""
    keys = [key for letter in USER_LETTERS for key in keys_of(letter, np.unique(events.user_id))]
    read_state(keys)
    value = events.number[:1].tobytes() * (VALUE_BYTES // 8)
    return StateUpdate(dict.fromkeys(keys, value), {}, np.ones(len(events), bool))


def append_posts(
    open_store: Callable[[], OnlineStore],
    rate: float,
    options: argparse.Namespace,
    process: int,
    start: Barrier,
) -> list[float]:
    """Returns the times of the posts in ms."""
    store = open_store()
    rng = np.random.default_rng(process)
    users = rng.integers(0, options.users, int(rate * options.seconds))
    store.poll(b"", 1)
    start.wait()
    begin = time.perf_counter()

    def append(post: int) -> float:
        due = begin + post / rate
        events = Events.from_columns(
            "impression",
            source=process,
            number=np.arange(post * N_EVENTS, (post + 1) * N_EVENTS),
            time_ms=1,
            user_id=int(users[post]),
            item_id=np.arange(N_EVENTS),
        )
        time.sleep(max(0.0, due - time.perf_counter()))
        store.append(events, rewrite_state)
        return 1000 * (time.perf_counter() - due)

    with ThreadPoolExecutor(THREADS) as threads:
        return [*threads.map(append, range(len(users)))]


@contextmanager
def opener(store: str, policy: str) -> Iterator[Callable[[], OnlineStore]]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # /tmp may be in memory
        if store == "sqlite":
            yield partial(SqliteStore, Path(folder) / "online.db", policy)
            return
        server = ValkeyServer(Path(folder), appendfsync=policy)
        try:
            yield partial(ValkeyStore, server.url, timeout_s=10)
        finally:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", choices=("sqlite", "valkey"))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: 10)")
    parser.add_argument("--users", type=int, default=20_000, help="number of users (default: 20000)")
    options = parser.parse_args()
    for policy in ("FULL", "NORMAL") if options.store == "sqlite" else ("always", "everysec"):
        for rate in (100, 300):
            with (
                opener(options.store, policy) as open_store,
                multiprocessing.Manager() as manager,
                multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool,
            ):
                start = manager.Barrier(N_PROCESSES)
                arguments = [(open_store, rate / N_PROCESSES, options, n, start) for n in range(N_PROCESSES)]
                times = np.concatenate(pool.starmap(append_posts, arguments, chunksize=1))
            p50, p99 = np.percentile(times, [50, 99])
            print(f"{policy:9} {rate:4} posts/s: p50 {p50:7.2f} ms, p99 {p99:7.2f} ms", flush=True)


if __name__ == "__main__":
    main()
