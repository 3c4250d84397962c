"""Latency of acknowledgements of a Valkey store, for both ways to sync its append-only file.

    python bench/service/valkey_latency.py [--seconds 10] [--users 20000]

Two processes append posts of 10 events at 100 and 300 posts a second in total, by a schedule that does not
wait for answers. A post is of one user: it reads and writes six state values of 5,000 bytes. A time begins
when the post is due. The server is `valkey-server` or `redis-server`, started here in a temporary folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from karec.aggregates.events import Events
from karec.online.store.online_store import Read, StateUpdate
from karec.online.store.records import keys_of
from karec.online.store.valkey import ValkeyStore
from karec.online.store.valkey_partitions import USER_LETTERS

sys.path.append(str(Path(__file__).parents[2] / "tests" / "fixtures"))
from valkey_server import ValkeyServer

N_EVENTS = 10
VALUE_BYTES = 5000
N_PROCESSES = 2
THREADS = 8


def rewrite_state(events: Events, read: Read) -> StateUpdate:
    """Reads and writes six values of each user."""
    keys = [key for letter in USER_LETTERS for key in keys_of(letter, np.unique(events.user_id))]
    read(keys)
    value = events.number[:1].tobytes() * (VALUE_BYTES // 8)
    return StateUpdate(dict.fromkeys(keys, value), {}, np.ones(len(events), bool))


def append_posts(url: str, rate: float, seconds: float, n_users: int, source: int, start: Any) -> list[float]:
    """Returns the times of the posts in ms."""
    store = ValkeyStore(url, timeout_s=10)
    users = np.random.default_rng(source).integers(0, n_users, int(rate * seconds))
    start.wait()
    begin = time.perf_counter()

    def append(post: int) -> float:
        due = begin + post / rate
        events = Events.from_columns(
            "impression",
            source=source,
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


def measure(policy: str, rate: float, seconds: float, n_users: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder), appendfsync=policy)
        try:
            with multiprocessing.Manager() as manager, multiprocessing.Pool(N_PROCESSES) as pool:
                start = manager.Barrier(N_PROCESSES)
                arguments = [
                    (server.url, rate / N_PROCESSES, seconds, n_users, n, start) for n in range(N_PROCESSES)
                ]
                times = np.concatenate(pool.starmap(append_posts, arguments, chunksize=1))
        finally:
            server.kill()
    p50, p99 = np.percentile(times, [50, 99])
    return f"appendfsync {policy:9} {rate:4.0f} posts/s: p50 {p50:7.2f} ms, p99 {p99:7.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: 10)")
    parser.add_argument("--users", type=int, default=20_000, help="number of users (default: 20000)")
    arguments = parser.parse_args()
    for policy in ("always", "everysec"):
        for rate in (100, 300):
            print(measure(policy, rate, arguments.seconds, arguments.users), flush=True)


if __name__ == "__main__":
    main()
