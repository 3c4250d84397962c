"""From two CSV files that nobody has described to a feed: the commands of docs/howto-own-data.md, timed one
by one.

    python bench/first_feed.py [--events 1000000] [--items 100000] [--users 50000]

Impressions with two labels and text ids; users like some of 40 genres more than others. Wanted: ten minutes
for 1e6 events and 1e5 items on two cores, training included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

GENRES, DAYS, START_S = 40, 30, 1_700_000_000


def write_files(folder: Path, n_users: int, n_items: int, n_events: int) -> None:
    rng = np.random.default_rng(0)
    genre, taste = rng.integers(0, GENRES, n_items), rng.normal(size=(n_users, GENRES))
    popular = rng.exponential(1, n_items) ** 1.5
    user, item = rng.integers(0, n_users, n_events), rng.choice(n_items, n_events, p=popular / popular.sum())
    click = rng.random(n_events) < 1 / (1 + np.exp(-(taste[user, genre[item]] * 1.5 - 1.2)))
    log = {
        "user": [f"u{each}" for each in user],
        "item": [f"i{each}" for each in item],
        "ts": np.sort(START_S + rng.integers(0, DAYS * 86_400, n_events)),
        "is_click": click.astype(np.int8),
        "is_like": (click & (rng.random(n_events) < 0.15)).astype(np.int8),
    }
    items = {
        "item": [f"i{each}" for each in range(n_items)],
        "genre": [f"genre {each}" for each in genre],
        "seller": [f"s{each}" for each in rng.integers(0, n_items // 20 + 1, n_items)],
        "price": np.round(np.exp(rng.normal(3, 1, n_items)), 2),
    }
    pa.csv.write_csv(pa.table(log), folder / "log.csv")
    pa.csv.write_csv(pa.table(items), folder / "items.csv")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=50_000)
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        shop, run = Path(scratch) / "shop", Path(scratch) / "run"
        shop.mkdir()
        write_files(shop, sizes.users, sizes.items, sizes.events)
        commands = (
            ("data", "init", str(shop)),
            ("data", "check", str(shop)),
            ("train", "--data", str(shop), "--out", str(run), "--quick"),
            ("recommend", "--config", str(run / "karec.toml"), "--user", "u17", "--json"),
        )
        whole = 0.0
        for command in commands:
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "karec.cli", *command], capture_output=True, text=True, check=False
            )
            seconds = time.perf_counter() - start
            whole += seconds
            print(f"karec {' '.join(command[:2]):<20} {seconds:7.1f} s")
            if done.returncode:
                raise SystemExit(done.stderr)
            if command[0] == "train":
                print(
                    "\n".join(
                        line for line in done.stdout.splitlines() if line.startswith(("│", "click", "like"))
                    )
                )
        print(f"{'in all':<26} {whole:7.1f} s")


if __name__ == "__main__":
    main()
