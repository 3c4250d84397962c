"""Measures a refresh job and the statistics of a publication on a library of generated works.

    python bench/service/refresh.py BUNDLES FOLDER --works 10000000 --workers 4

The works of the bundle in BUNDLES are repeated in FOLDER under other ids, creators and songs, with counters
times random numbers, and published with their vectors. Then the workers run one after another, each in its
own process, so their processor times do not depend on their number. A line has the part, its processor
seconds, works per second of processor time, and the highest resident memory (``ru_maxrss``), which contains
the pages of mapped files.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.tower_files import INDEX
from karec.bundle.vector_statistics import VectorStatistics
from karec.catalog.schema import CREATOR, SONG, is_counter
from karec.catalog.table import Table
from karec.cli import main as run_karec
from karec.index import ItemIndex
from karec.refresh.item_types import build_item_type_index, songs_and_creators
from karec.refresh.item_vectors import served_columns
from karec.refresh.publish_run import LibraryVectors, publish_library
from karec.refresh.shards import library_folder

OFFSET = 10**12  # between ids of two repetitions


def report(part: str, n_works: int, work: Callable[[], object]) -> None:
    """Runs ``work`` in a forked process and prints its line."""
    child = get_context("fork").Process(target=work)
    start = time.perf_counter()
    child.start()
    _, status, usage = os.wait4(child.pid or 0, 0)
    if status:
        sys.exit(f"{part} failed")
    cpu_s, wall_s = usage.ru_utime + usage.ru_stime, time.perf_counter() - start
    print(
        f"{part:28} {cpu_s:8.1f} s CPU {wall_s:8.1f} s {n_works / cpu_s:12,.0f}/s "
        f"{usage.ru_maxrss / 2**20:6.2f} GiB",
        flush=True,
    )


def repeat_works(works: Table, n: int) -> Table:
    """Returns ``n`` works: those of the table, repeated."""
    rows, repetition = np.arange(n) % len(works), np.arange(n) // len(works)
    factors = np.random.default_rng(0).uniform(0.5, 1.5, n).astype(np.float32)

    def column_of(name: str, column: NDArray[Any]) -> NDArray[Any]:
        values = column[rows]
        if name in (CREATOR, SONG):
            return np.where(values >= 0, values + repetition * OFFSET, values)
        return np.asarray(values * factors) if is_counter(name) else values

    columns = {name: column_of(name, np.asarray(column)) for name, column in works.columns.items()}
    return Table(np.asarray(works.ids)[rows] + repetition * OFFSET, columns)


def publish_repeated(source: Path, root: Path, n: int) -> None:
    bundle = Bundle.open(source, verify=False)
    snapshot = replace(bundle.snapshot, works=repeat_works(bundle.snapshot.works, n))
    rows = bundle.index.lookup(
        np.asarray(bundle.snapshot.works.ids)[np.arange(n) % len(bundle.snapshot.works)]
    )
    (version,) = bundle.index.versions
    index = ItemIndex.build(
        np.asarray(snapshot.works.ids),
        bundle.index.embeddings(rows.astype(np.int32)),
        dtype="float16",
        columns=served_columns(snapshot),
        model_version=version.number,
        space_id=version.space_id,
        codes=bundle.encoder.item_codes(snapshot, np.arange(n), bundle.index.code_columns),
    )
    library = LibraryVectors(index, index, {})
    publish_library(bundle.path, snapshot, root, library, ids=None, keep=1, signing_key=None, item_types={})


def statistics(root: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    bundle = Bundle.open(root, verify=False)
    yield "whitening", lambda: VectorStatistics.from_index(bundle.index, bundle.path / INDEX)
    for name, derived in songs_and_creators(bundle.snapshot).items():
        yield (
            f"means of {name}s",
            lambda derived=derived: build_item_type_index(derived, bundle.snapshot, bundle.index),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundles", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--works", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only-workers", action="store_true", help="Measure no statistics.")
    options = parser.parse_args()
    root, n = options.folder / "bundles", options.works
    options.folder.mkdir(parents=True, exist_ok=True)
    if not root.exists():
        report("publish", n, lambda: publish_repeated(options.bundles, root, n))
    config = options.folder / "karec.toml"
    config.write_text('bundle = "bundles"\n[scenes.home]\n')
    for part, work in [] if options.only_workers else statistics(root):
        report(part, n, work)
    folder = Bundle.open(root, verify=False).path
    shutil.rmtree(library_folder(folder), ignore_errors=True)
    for number in range(options.workers):
        command = ["refresh", str(config), "--share", "1", "--worker", f"{number}/{options.workers}"]
        report(f"worker {number}", n // options.workers, lambda: sys.exit(run_karec(command)))  # noqa: B023
    files = [path for path in library_folder(folder).rglob("*") if path.is_file()]
    print(f"{len(files):,} files, {sum(path.stat().st_size for path in files):,} bytes")


if __name__ == "__main__":
    main()
