"""Bytes of a bundle, a rank log and an online store, each for one user, item, row or event.

    python bench/sizes.py CONFIG                     # the bundle and the rank log of a karec.toml
    python bench/sizes.py CONFIG --store online.db   # also the events and the state of a SQLite store

The unit sizes of docs/scale.md are these. A size is that of the file, or of the SQLite table with its index;
files are memory-mapped, so a process that reads all of a file holds as much.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from karec.bundle import Bundle
from karec.config import open_bundle
from karec.logs.parts import FORMAT_KEY
from karec.online.event_files import EventFiles, day_of
from karec.online.read_log import EventSource, read_log

Line = tuple[str, float, int]
"""(what, bytes, units)"""


def bundle_lines(bundle: Bundle) -> Iterator[Line]:
    works, users = bundle.snapshot.works, bundle.snapshot.users
    folder = bundle.path
    yield "item: index of vectors and columns", _bytes_under(folder / "index.karec"), len(works)
    yield "item: columns of the snapshot", _bytes_under(folder / "snapshot" / "works"), len(works)
    for name in ("users", "user_scene_counters", "relations"):
        yield f"user: {name} of the snapshot", _bytes_under(folder / "snapshot" / name), len(users)
    yield "bundle: encoder", _bytes_under(folder / "encoder.npz"), 1
    yield "bundle: models", sum(map(_bytes_under, folder.glob("*.onnx"))), 1


def rank_log_lines(parts: list[Path]) -> Iterator[Line]:
    n_bytes, n_rows, n_requests = 0, 0, 0
    for part in parts:
        table = pq.read_table(part, columns=["request_id", "shadow"])
        n_bytes += part.stat().st_size
        n_rows += len(table)
        n_requests += len(table["request_id"].unique())
    yield "rank log: row", n_bytes, n_rows
    yield "rank log: request", n_bytes, n_requests


def store_lines(path: Path) -> Iterator[Line]:
    head, events = read_log(EventSource(f"sqlite:{path.absolute()}"))
    with sqlite3.connect(path) as database:
        sizes = dict(database.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
        (n_users,) = database.execute("SELECT count(DISTINCT user_id) FROM events").fetchone()
    of_events = sum(size for name, size in sizes.items() if name in ("events", "sqlite_autoindex_events_1"))
    yield "store: event", of_events, len(events)
    yield "store: state for each user with events", sizes["state"], n_users
    with tempfile.TemporaryDirectory() as folder:
        files = EventFiles(folder)
        for day in {*day_of(events.time_ms).tolist()}:
            files.write(day, iter([events.take(day_of(events.time_ms) == day)]), head)
        yield "exported event", _bytes_under(Path(folder)), len(events)


def _bytes_under(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _is_rank_log(part: Path) -> bool:
    return FORMAT_KEY in (pq.read_schema(part).metadata or {})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    lines = [*bundle_lines(open_bundle(options.config))]
    if parts := [*filter(_is_rank_log, options.config.parent.rglob("part-*.parquet"))]:
        lines += rank_log_lines(parts)
    if options.store is not None:
        lines += store_lines(options.store)
    for what, n_bytes, n in lines:
        print(f"{what:44} {n_bytes / n:14,.0f} bytes  ({n:,})")


if __name__ == "__main__":
    main()
