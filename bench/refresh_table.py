"""A round of ``karec refresh`` over a million works, and what a service takes to follow it, on one core.

    karec demo --out demo
    OMP_NUM_THREADS=1 python bench/refresh_table.py demo/bundles [--works 1000000]

The works of the bundle's snapshot are taken again and again, under other ids, until there are so many;
models, encoder and features are the bundle's. Seconds are of processor time, so that a busy machine shows
little. Wanted: 60 s.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from karec.bundle import Bundle, publish
from karec.index import ItemIndex
from karec.platform.table import Table
from karec.refresh.following import LibraryFollower
from karec.refresh.item_vectors import BATCH, item_vectors, served_columns
from karec.refresh.pace import Pace
from karec.refresh.rolling import SIZE, refreshing


def tiled(bundle: Bundle, root: Path, n: int) -> Bundle:
    """A bundle of ``n`` works beside each other in ``root``, with the models of ``bundle`` and vectors of
    nothing."""
    works = bundle.snapshot.works
    columns = {name: np.resize(column, (n, *column.shape[1:])) for name, column in works.columns.items()}
    ids = np.resize(works.ids, n) + np.arange(n) // len(works) * (int(np.max(works.ids)) + 1)
    snapshot = replace(bundle.snapshot, works=Table(ids, columns))
    vectors = np.zeros((n, bundle.index.dim), np.float16)

    def write(folder: Path) -> None:
        for name in ("item_tower.onnx", "encoder.npz"):
            shutil.copyfile(bundle.path / name, folder / name)
        snapshot.save(folder / "snapshot")
        served = served_columns(snapshot)
        ItemIndex.build(ids, vectors, columns=served, model_version=bundle.model_version).save(
            folder / "index.karec"
        )

    return Bundle.open(publish(root, bundle.model_version, write), verify=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, help="a published bundle, for its models and features")
    parser.add_argument("--works", type=int, default=1_000_000, help="works of the library (default 1000000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = tiled(Bundle.open(given.bundles, verify=False), Path(folder), given.works)
        marks = [("", time.process_time(), time.perf_counter())]

        def mark(what: str) -> None:
            marks.append((what, time.process_time(), time.perf_counter()))

        bundle.encoder.tables(bundle.snapshot)
        mark("the snapshot is encoded, once a bundle")
        some = np.arange(min(given.works, 8 * BATCH))
        for _ in item_vectors(bundle.snapshot, bundle.encoder, bundle.item_tower, some, 0):
            pass
        mark(f"of a round: features and item tower, {len(some):,} works alone")
        with refreshing(bundle) as work:
            work.run(work.begin(bundle.snapshot.time_ms), Pace(1.0))
        mark(f"a round, in shards of {SIZE:,}")
        LibraryFollower().catch_up(bundle)
        mark("a service follows: it reads, checks and adds the shards")
        print(
            f"{given.works:,} works of {bundle.index.dim} dimensions, {bundle.path.name} of {given.bundles}"
        )
        print("| what | processor s | wall s |\n|---|--:|--:|")
        for (_, cpu, wall), (what, cpu_after, wall_after) in pairwise(marks):
            print(f"| {what} | {cpu_after - cpu:.1f} | {wall_after - wall:.1f} |")


if __name__ == "__main__":
    main()
