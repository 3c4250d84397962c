"""What encoding takes of a request: the user, 1,000 works and their crosses, in microseconds of thread time.

    python bench/features_table.py BUNDLES [WORKS]

Medians over 20 users and 20 draws of works, of the bundle that `karec demo` or `karec train` published there.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from karec.bundle import Bundle

DRAWS, ROUNDS = 20, 10


def median(call: Callable[[int], object]) -> float:
    took = []
    for at in range(DRAWS * ROUNDS):
        before = time.thread_time_ns()
        call(at % DRAWS)
        took.append(time.thread_time_ns() - before)
    return float(np.median(took)) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("works", type=int, nargs="?", default=1000)
    given = parser.parse_args()
    bundle = Bundle.open(given.bundles)
    encoder, snapshot, random = bundle.encoder, bundle.snapshot, np.random.default_rng(0)
    ids = random.choice(np.asarray(snapshot.users.ids), DRAWS).tolist()
    rows = [random.integers(0, len(snapshot.works), given.works) for _ in range(DRAWS)]
    now = snapshot.time_ms
    users = [encoder.encode_user(snapshot, user, now, 0) for user in ids]
    items = [encoder.encode_items(snapshot, each, now) for each in rows]
    slots, known = users[0]["history"].shape[1], int((items[0]["cowatch"] > 0).sum())
    print(
        f"{slots} history slots; of {given.works:,} works {known:,} have a co-watch vector; µs of thread time"
    )
    print(f"user     {median(lambda at: encoder.encode_user(snapshot, ids[at], now, 0)):8.0f}")
    print(f"items    {median(lambda at: encoder.encode_items(snapshot, rows[at], now)):8.0f}")
    print(f"crosses  {median(lambda at: encoder.encode_crosses(users[at], items[at])):8.0f}")


if __name__ == "__main__":
    main()
