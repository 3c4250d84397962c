"""What it takes to open a bundle: the hashes, the checks of its structure, and the replay in a child process.

    karec demo --works 400000 --users 20000 --exposures 60000 --requests 5 --out HERE
    python bench/opening.py HERE/bundles

Seconds of processor time, of the replay those of its process, which other work on the machine hardly changes;
medians of ROUNDS.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

from karec.bundle import Bundle
from karec.bundle.manifest import check_files, manifest_of, manifest_text
from karec.bundle.replay_process import replay_in_child
from karec.bundle.structure import check_structure

ROUNDS = 5


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    root = Path(sys.argv[1])
    folder = Bundle.open(root).path
    files = manifest_of(folder, manifest_text(folder))["files"]
    seconds: dict[str, list[float]] = {"hashes": [], "structure": [], "replay": []}
    for _ in range(ROUNDS):
        start = time.process_time()
        check_files(folder, files)
        hashed = time.process_time()
        check_structure(Bundle.open(folder, verify=False), files.keys())
        seconds["hashes"].append(hashed - start)
        seconds["structure"].append(time.process_time() - hashed)
        before = of_children()
        replay_in_child(folder)
        seconds["replay"].append(of_children() - before)
    print(f"{folder}: {sum(entry['bytes'] for entry in files.values()) / 1e6:.0f} MB")
    for what, taken in seconds.items():
        print(f"{what:<10} {statistics.median(taken):.3f} s")


if __name__ == "__main__":
    main()
