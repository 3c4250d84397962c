"""How much memory learning from many exposures takes, from data to quality: every step of ``train_all``, one
pass each.

    python bench/training_memory.py --exposures 2000000

Prints, as each step ends, its seconds and the most memory that the process had held by then (the kernel's
ru_maxrss).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from karec.lab.simulate.world import make_world
from karec.learn.run.train import train_all
from karec.learn.settings.sections import EvaluationSettings, RankerSettings, TowerSettings
from karec.learn.settings.train import TrainSettings


class MemoryPrinter:
    """Prints a line whenever what is being done changes."""

    def __init__(self) -> None:
        self.what, self.begin = "imports", time.perf_counter()

    def __call__(self, done: int, total: int, what: str) -> None:
        if what != self.what:
            now = time.perf_counter()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{self.what:36} {now - self.begin:8.1f} s   at most {peak:5.2f} GiB so far", flush=True)
            self.what, self.begin = what, now


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, default=2_000_000)
    parser.add_argument("--works", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=50_000)
    arguments = parser.parse_args()
    printer = MemoryPrinter()
    dataset = make_world(
        arguments.works, arguments.users, arguments.exposures, seed=0, progress=printer
    ).dataset
    settings = TrainSettings(
        ranker=RankerSettings(epochs=1),
        towers=TowerSettings(epochs=1),
        evaluation=EvaluationSettings(baselines=(), resamples=20),
    )
    with tempfile.TemporaryDirectory() as folder:
        train_all(dataset, settings, Path(folder), printer)
    printer(1, 1, "done")


if __name__ == "__main__":
    main()
