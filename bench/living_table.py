"""A large index that lives: the longest pause of a reader while it grows, and opening its file.

    OMP_NUM_THREADS=1 python bench/living_table.py [works, 10_000_000]

A writer upserts batches, each a new generation, from none to all works, while a reader searches 1,000 of the
rows that are there, again and again. What the reader waits for is the machine (two threads, one memory) and,
in Python, the interpreter lock; its slowest search is shown beside its median. Needs about 500 bytes a work,
in memory and in a file of a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import workloads
from numpy.typing import NDArray
from scoring_table import Table

from karec.index import ItemIndex

BATCH = 100_000
N_READ = 1000


def grow(table: Table, works: int, vectors: NDArray[np.float32], query: NDArray[np.float32]) -> ItemIndex:
    rng = np.random.default_rng(3)
    ids = rng.permutation(np.arange(works, dtype=np.int64) * 977 + 13)
    index = ItemIndex.build(ids[:1], vectors[:1])
    spent: list[float] = []
    done = threading.Event()

    def read() -> None:
        picks = np.random.default_rng(4)
        while not done.is_set():
            rows = picks.integers(0, index.n_rows, N_READ).astype(np.int32)
            start = time.perf_counter()
            index.search(query, rows=rows, k=10)
            spent.append(time.perf_counter() - start)

    reader = threading.Thread(target=read)
    reader.start()
    start = time.perf_counter()
    for first in range(1, works, BATCH):
        some = ids[first : first + BATCH]
        index.upsert(some, vectors[: len(some)])
    seconds = time.perf_counter() - start
    done.set()
    reader.join()
    pause = max(spent) * 1e3
    note = (
        f"ms, median {np.median(spent) * 1e3:.3f} of {len(spent):,}; {works / seconds / 1e6:.2f}e6 works/s "
        f"written"
    )
    table.row(f"growth from 0 to {works:.0e} rows: longest search", pause, "≤ 50", pause <= 50, note)
    bound = 2 * workloads.DIM + 16 + 8
    index.adjust(ids[:1], scale=1.0)
    share = index.nbytes / works / bound
    table.row("memory of a row after growth / (row + 16 B + 8 B)", share, "≤ 1.15", share <= 1.15)
    return index


def files(table: Table, index: ItemIndex, folder: Path) -> None:
    path = folder / "index.karec"
    index.save(path)
    size = path.stat().st_size

    def seconds(verify: bool) -> float:
        spent = []
        for _ in range(5):
            start = time.perf_counter()
            ItemIndex.open(path, verify=verify)
            spent.append(time.perf_counter() - start)
        return float(np.median(spent))

    speed = size / seconds(True) / 1e9
    table.row(
        "open, every checksum and the id map",
        speed,
        "≥ 2",
        speed >= 2,
        f"GB/s of {size / 1e9:.2f} GB, cached",
    )
    ms = seconds(False) * 1e3
    table.row("open(verify=False)", ms, "≤ 100", ms <= 100, "ms")


def main() -> None:
    works = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((BATCH, workloads.DIM), dtype=np.float32)
    query = rng.standard_normal(workloads.DIM, dtype=np.float32)
    print(f"{works:,} works, D = {workloads.DIM}")
    table = Table()
    index = grow(table, works, vectors, query)
    with tempfile.TemporaryDirectory() as folder:
        files(table, index, Path(folder))


if __name__ == "__main__":
    main()
