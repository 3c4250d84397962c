"""Two vector spaces of the same works: a file each, or one file whose rows hold both vectors side by side.

    python bench/spaces_table.py [WORKS]

Side by side a search in one space takes a query with zeros at the other's numbers. Prints, for each layout,
the size of the files, and processor time, the least of CALLS: verified opening, recall's exact scan for the
NEAREST, and prerank's search among CANDIDATES for the BEST.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from karec.index import ItemIndex

DIM, NEAREST, CANDIDATES, BEST, CALLS = 64, 40_000, 100_000, 2_000, 15


def least_ms(call: Callable[[], object]) -> float:
    took = []
    for _ in range(CALLS):
        begin = time.process_time()
        call()
        took.append(time.process_time() - begin)
    return 1e3 * min(took)


def main(n_works: int) -> None:
    generator = np.random.default_rng(0)
    ids = generator.permutation(4 * n_works)[:n_works]
    prerank, recall = (generator.standard_normal((n_works, DIM)).astype(np.float32) for _ in range(2))
    both = np.concatenate([prerank, recall], axis=1)
    rows = generator.permutation(n_works)[:CANDIDATES].astype(np.int32)
    query, nothing = generator.standard_normal(DIM).astype(np.float32), np.zeros(DIM, np.float32)
    columns = {name: generator.integers(0, 1000, n_works) for name in ("creator_id", "song_id", "upload_ms")}
    print(f"{n_works:,} works | MiB | opening, ms | recall's scan, ms | prerank's search, ms")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.karec" for name in ("prerank", "recall", "both")}
        ItemIndex.build(ids, prerank, columns=columns).save(files["prerank"])
        ItemIndex.build(ids, recall).save(files["recall"])
        ItemIndex.build(ids, both, columns=columns).save(files["both"])
        for layout, parts, queries in (
            ("a file each", ("prerank", "recall"), (query, query)),
            (
                "side by side",
                ("both", "both"),
                (np.concatenate([query, nothing]), np.concatenate([nothing, query])),
            ),
        ):
            paths = [files[name] for name in dict.fromkeys(parts)]
            opened = {path: ItemIndex.open(path) for path in paths}
            of_prerank, of_recall = (opened[files[name]] for name in parts)
            figures = (
                sum(path.stat().st_size for path in paths) / 2**20,
                least_ms(lambda paths=paths: [ItemIndex.open(path) for path in paths]),  # type: ignore[misc]
                least_ms(lambda: of_recall.search_all(queries[1], k=NEAREST)),  # noqa: B023
                least_ms(lambda: of_prerank.search(queries[0], rows=rows, k=BEST)),  # noqa: B023
            )
            print(f"{layout} | " + " | ".join(f"{value:.1f}" for value in figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
