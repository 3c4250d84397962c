"""Replays KuaiRand through an online store, and compares its reads with training rows of the test days.

    python tests/online/replay_kuairand.py ROOT [rows, 2000; 0 is all] [URL, sqlite::memory:]

All exposures go through the store, in order of time. The rows that are compared are spread evenly
over the test days. Prints how many rows and inputs were equal in every bit, and those that were not.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

import numpy as np
from replayed_log import differing_rows

from karec.data.load import load
from karec.features.encoder import Encoder
from karec.online.store.open import MEMORY, open_store


def main() -> None:
    root, n = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    with tempfile.TemporaryDirectory() as ids:
        dataset = load(root, Path(ids), preset="kuairand").dataset
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    first = int(np.searchsorted(dataset.exposures.time_ms, dataset.valid_until_ms))
    n_test = len(dataset.exposures) - first
    rows = range(first, len(dataset.exposures), max(1, n_test // n) if n else 1)
    store = open_store(sys.argv[3] if len(sys.argv) > 3 else MEMORY, Path())
    differing = differing_rows(dataset, encoder, store, rows)
    store.close()
    print(
        f"{len(dataset.exposures):,} exposures stored; of {n_test:,} rows of the test days {len(rows):,} "
        f"compared"
    )
    print(f"{len(differing)} inputs differ", *differing[:20], sep="\n")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
