"""How fast a log of one's own is imported, and how much memory that takes: from data.toml to the dataset.

    python bench/import_table.py                        1e6 events, Parquet and CSV
    python bench/import_table.py --events 50000000 --formats parquet

Ids are strings; the log has a scene and a label, items have a creator, a category and a price. Each import
runs in a process of its own; memory is the kernel's ru_maxrss.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

DATA = """\
[events]
path = "log.{ending}"
columns = {{ user = "user", item = "item", time = "time", scene = "scene" }}
[labels]
click = {{ column = "click" }}
[items]
path = "items.{ending}"
id = "item"
roles = {{ creator = "creator" }}
"""
CHILD = """
import json, resource, sys, tempfile, time
from pathlib import Path
from karec.data.own.load import load

steps = []
def said(done, total, what):
    steps.append((what, time.perf_counter()))

with tempfile.TemporaryDirectory() as ids:
    start, began = time.perf_counter(), time.process_time()
    n = load(Path(sys.argv[1]), Path(ids), said).report.exposures
    seconds, cpu = time.perf_counter() - start, time.process_time() - began
spans = {what: round(after - at, 2) for (what, at), (_, after) in zip(steps, steps[1:])}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "cpu": cpu, "gib": peak, "exposures": n, "steps": spans}))
"""
PART = 5_000_000  # events written at a time
WANTED = {"parquet": 1e6, "csv": 3e5}  # events a second


def write_files(folder: Path, events: int, users: int, items: int, ending: str) -> None:
    rng = np.random.default_rng(0)
    catalogue = pa.table(
        {
            "item": _names("item-", np.arange(items)),
            "creator": _names("maker-", np.arange(items) % max(items // 20, 1)),
            "shelf": _names("shelf ", rng.integers(0, 30, items)),
            "price": np.round(rng.lognormal(3, 1, items), 2),
        }
    )
    log = folder / f"log.{ending}"
    writer = None
    for start in range(0, events, PART):
        n = min(PART, events - start)
        part = pa.table(
            {
                "user": _names("user-", rng.integers(0, users, n)),
                "item": _names("item-", (items * rng.random(n) ** 2).astype(np.int64)),
                "time": 1_700_000_000_000 + (start + np.arange(n)) * 50 + rng.integers(0, 1000, n),
                "scene": pc.take(pa.array(["home", "search", "profile"]), pa.array(rng.integers(0, 3, n))),
                "click": rng.integers(0, 2, n).astype(np.int8),
            }
        )
        if writer is None:
            writer = (
                pq.ParquetWriter(log, part.schema)
                if ending == "parquet"
                else pa.csv.CSVWriter(log, part.schema)
            )
        writer.write_table(part)
    assert writer is not None
    writer.close()
    if ending == "parquet":
        pq.write_table(catalogue, folder / "items.parquet")
    else:
        pa.csv.write_csv(catalogue, folder / "items.csv")
    (folder / "data.toml").write_text(DATA.format(ending=ending))


def _names(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast("string"), "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--formats", nargs="+", choices=list(WANTED), default=list(WANTED))
    arguments = parser.parse_args()
    for ending in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), arguments.events, arguments.users, arguments.items, ending)
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
            done = subprocess.run(
                [sys.executable, "-c", CHILD, folder], check=True, capture_output=True, text=True
            )
        found = json.loads(done.stdout)
        rate = arguments.events / found["seconds"]
        print(
            f"{ending:8} {arguments.events:12,} events {size:8.0f} MiB {found['seconds']:8.2f} s, of CPU "
            f"{found['cpu']:.2f} s, {rate:,.0f} a second (wanted {WANTED[ending]:,.0f}), at most "
            f"{found['gib']:.2f} GiB"
        )
        print(
            "         " + ", ".join(f"{what} {seconds}" for what, seconds in found["steps"].items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
