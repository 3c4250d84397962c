"""How time, memory and start-up of the item index grow with works, candidates and dimensions; with straight
lines.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python bench/growth_table.py [--works 1e5 1e6 1e7] [--folder DIR]

Milliseconds of the thread's processor time, medians; vectors are random, of unit length and float16, since
what a scan or a search costs hardly depends on them. 1e7 works of 64 dimensions need 5 GB of memory while
they are made, and 1.7 GB of disk. Resident memory is what a process of its own has when it has opened the
index and answered. ``open`` verifies every checksum; the file is in the page cache.

A line a + b·x is fitted with relative weights; ``off`` is how far the farthest measurement lies from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import karec

DIM, K = 64, 1000
N_CANDIDATES = 100_000
CANDIDATES = (1_000, 3_000, 10_000, 30_000, 100_000)
DIMS = (16, 32, 64, 128, 256)
WORKS_OF_DIMS = 300_000
CHUNK = 100_000

OPENED = """
import json, sys, time
import numpy as np
import karec

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

before, begin, wall = resident(), time.process_time(), time.perf_counter()
index = karec.ItemIndex.open(sys.argv[1])
cpu, wall = time.process_time() - begin, time.perf_counter() - wall
rng = np.random.default_rng(0)
query = rng.standard_normal(index.dim, dtype=np.float32)
index.search(query, rows=rng.integers(0, index.n_rows, 100_000, dtype=np.int32), k=1000)
index.search_all(query, k=1000)
print(json.dumps({"cpu": cpu, "wall": wall, "bytes": resident() - before}))
"""


def vectors(n: int, dim: int) -> NDArray[np.float16]:
    """(n, dim) of unit length."""
    rng, made = np.random.default_rng(0), np.empty((n, dim), np.float16)
    for first in range(0, n, CHUNK):
        part = rng.standard_normal((min(CHUNK, n - first), dim), dtype=np.float32)
        made[first : first + CHUNK] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def built(n: int, dim: int) -> karec.ItemIndex:
    """An index whose ids lie apart and in no order."""
    ids = np.random.default_rng(1).permutation(n) * 3
    return karec.ItemIndex.build(ids, vectors(n, dim), dtype="float16", model_version=1)


def median_ms(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        begin = time.thread_time()
        call()
        times.append((time.thread_time() - begin) * 1e3)
    return float(np.median(times[1:]))


def searches(index: karec.ItemIndex, n: int, rounds: int) -> dict[str, float]:
    """ms of a search of the ``K`` best of ``n`` works by rows and by ids, of other works in each call."""
    rng = np.random.default_rng(n)
    query = rng.standard_normal(index.dim, dtype=np.float32)
    drawn = [rng.choice(index.n_rows, n, replace=False).astype(np.int32) for _ in range(8)]
    ids = [np.asarray(index.ids)[rows] for rows in drawn]

    def each(
        of: list[NDArray[np.int32]] | list[NDArray[np.int64]],
    ) -> Iterator[NDArray[np.int32] | NDArray[np.int64]]:
        while True:
            yield from of

    turn_rows, turn_ids = each(drawn), each(ids)
    return {
        "rows": median_ms(lambda: index.search(query, rows=next(turn_rows), k=K), rounds),
        "ids": median_ms(lambda: index.search(query, ids=next(turn_ids), k=K), rounds),
    }


def of_works(n: int, folder: Path, rounds: int) -> dict[str, float]:
    path = folder / "growth.karec"
    measured = while_built(n, path, rounds)
    told = subprocess.run(
        [sys.executable, "-c", OPENED, str(path)], capture_output=True, text=True, check=True
    )
    opened = json.loads(told.stdout)
    measured |= {"open, s": opened["cpu"], "resident B a work": opened["bytes"] / n}
    measured["file B a work"] = path.stat().st_size / n
    path.unlink()
    return measured


def while_built(n: int, path: Path, rounds: int) -> dict[str, float]:
    """What an index of ``n`` works takes in the process that made it; it is saved to ``path``, and not
    kept."""
    begin = time.process_time()
    index = built(n, DIM)
    measured = {"made, s": time.process_time() - begin}
    index.save(path)
    query = np.random.default_rng(2).standard_normal(DIM, dtype=np.float32)
    measured["scan, ms"] = median_ms(lambda: index.search_all(query, k=K), max(rounds // 4, 3))
    measured |= {f"1e5 {by}, ms": ms for by, ms in searches(index, min(N_CANDIDATES, n), rounds).items()}
    return {**measured, "index B a work": index.nbytes / n}


def of_dimensions(dim: int, rounds: int) -> dict[str, float]:
    index, query = built(WORKS_OF_DIMS, dim), np.ones(dim, np.float32)
    scan = median_ms(lambda: index.search_all(query, k=K), rounds)
    found = {f"1e5 {by}, ms": ms for by, ms in searches(index, N_CANDIDATES, rounds).items()}
    return {"scan, ms": scan, **found, "index B a work": index.nbytes / len(index)}


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """(a, b, the largest relative distance) of y ≈ a + b·x, least squares of relative distances."""
    at, of = np.asarray(x, np.float64), np.asarray(y, np.float64)
    terms = np.stack([1.0 / of, at / of], axis=1)
    (a, b), *_ = np.linalg.lstsq(terms, np.ones(len(of)), rcond=None)
    return float(a), float(b), float(np.abs((a + b * at) / of - 1.0).max())


def show(title: str, x: Sequence[float], rows: Sequence[dict[str, float]], fitted: Sequence[str]) -> None:
    print(f"\n{title}")
    print(f"{'':>20}" + "".join(f"{each:>12,.0f}" for each in x))
    for name in rows[0]:
        values = [row[name] for row in rows]
        told = ""
        if name in fitted and len(x) > 2:
            a, b, off = line(x, values)
            told = f"   {a:.3g} + {b:.3g}·x, off by {off:.0%}"
        print(f"{name:>20}" + "".join(f"{value:12.4g}" for value in values) + told)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", type=float, nargs="+", default=[1e5, 1e6, 1e7])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--folder", type=Path, help="where the index files are written; a temporary folder")
    arguments = parser.parse_args()
    works = [int(n) for n in arguments.works]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        grown = [of_works(n, Path(folder), arguments.rounds) for n in works]
    times = ("made, s", "scan, ms", "open, s")
    show(f"works, {DIM} dimensions, float16, k = {K}", works, grown, times)
    index = built(min(10**6, max(works)), DIM)
    show(
        f"candidates, of {len(index):,} works, {DIM} dimensions",
        CANDIDATES,
        [{f"{by}, ms": ms for by, ms in searches(index, n, arguments.rounds).items()} for n in CANDIDATES],
        ("rows, ms", "ids, ms"),
    )
    del index
    by_dim = [of_dimensions(dim, arguments.rounds) for dim in DIMS]
    show(f"dimensions, {WORKS_OF_DIMS:,} works", DIMS, by_dim, list(by_dim[0]))


if __name__ == "__main__":
    main()
