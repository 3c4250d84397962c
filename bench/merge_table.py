"""The merge of recall by ids and by rows: real requests' channels, in turns, and the rows of the works that
are left.

    OMP_NUM_THREADS=1 python bench/merge_table.py DIR/karec.toml

``by ids`` merges with a hash table and then looks up the rows that no channel found, as a request without an
index and one of more than 15 channels does; ``by rows`` looks them up first. Milliseconds of the thread's
processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from request_table import opened, requests_of

import karec.recall.merger
from karec._asked import merge, recall

ROUNDS = 20


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("config", type=Path)
    options.add_argument("--scene", default="home")
    options.add_argument("--requests", type=int, default=20)
    given = options.parse_args()
    cascade, bundle = opened(given.config, given.scene, True)
    index, merger = cascade.index, cascade.recall.merger
    if index is None:
        options.error(f"the scene {given.scene} reads no index")
    ms: dict[str, list[float]] = {"by ids": [], "by rows": []}
    n_found, n_left = 0, 0
    with index.pinned() as view:
        for bare in requests_of(bundle, given.scene, given.requests):
            seeing = replace(bare, request_id=f"of {bare.user_id}", view=view)
            request, _ = cascade.hydrated(seeing)
            parts = [recall(source, request)[0] for source in cascade.recall.sources]
            for at in range(ROUNDS):
                for way in sorted(ms, reverse=bool(at % 2)):
                    most = 0 if way == "by ids" else karec.recall.merger.MOST_CHANNELS
                    with patch.object(karec.recall.merger, "MOST_CHANNELS", most):
                        begin = time.thread_time()
                        merged, _ = merge(merger, request, parts)
                        view.lookup(merged.ids, merged.rows if view.found_here(merged.rows) else None)
                        ms[way].append((time.thread_time() - begin) * 1e3)
            n_found, n_left = sum(map(len, parts)), len(merged)
        print(f"{n_found:,} → {n_left:,} works of the last request, {view.n_rows:,} rows")
    for way, each in ms.items():
        print(
            f"{way:8} median {statistics.median(each):6.2f}   tenth "
            f"{statistics.quantiles(each, n=10)[0]:6.2f} ms"
        )
    print(f"ratio of medians {statistics.median(ms['by rows']) / statistics.median(ms['by ids']):.2f}")


if __name__ == "__main__":
    main()
