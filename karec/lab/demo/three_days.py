"""Three simulated days with the page policy and with the ranker's order, played in a second process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from karec.errors import KarecError
from karec.lab.simulate.arms import read_arms
from karec.lab.simulate.loop import simulate_with_models
from karec.lab.simulate.population import Part, Sizes, population_of
from karec.lab.simulate.report import loop_report
from karec.lab.simulate.world import World
from karec.times import Progress

DAYS = 3
PART = Part(users=300, works=5.0)  # about 30 s of one core
NICENESS = 3  # the second process runs at lower priority than this one
POLL_S = 1.0


@dataclass(frozen=True, eq=False)
class ThreeDays:
    """The arms ``demo`` on the days after ``world``, with the models of ``run_folder``, into ``out``."""

    world: World
    run_folder: Path
    out: Path
    seed: int
    part: Part

    def play(self) -> None:
        truth, n_impressions = self.world.truth, len(self.world.dataset.exposures)
        population = population_of(self.world, DAYS, self.seed, self.part)
        sizes = Sizes(len(truth.works), len(truth.people), n_impressions, DAYS, self.seed)
        arms = read_arms("demo")
        simulate_with_models(self.run_folder, arms, population, sizes, self.out)

    @contextmanager
    def started(self) -> Iterator[Callable[[Progress], dict[str, Any]]]:
        """Plays in a second process, which ends with the block. Yields a function that waits for the report.

        The function raises KarecError if the second process failed.
        """
        process = get_context("spawn").Process(target=_play_at_low_priority, args=(self,))
        process.start()

        def wait(progress: Progress) -> dict[str, Any]:
            arms = read_arms("demo")
            while process.is_alive():
                n_days = len(list(self.out.glob("*/day-*.npz")))
                progress(n_days, DAYS * len(arms.arms), "simulating days")
                process.join(POLL_S)
            if process.exitcode != 0:
                raise KarecError(
                    f"the process that simulates days ended with status {process.exitcode}. Its error is "
                    "above."
                )
            return loop_report(self.out, arms)

        try:
            yield wait
        finally:
            process.kill()
            process.join()


def _play_at_low_priority(days: ThreeDays) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the first process, which kills this one
    os.nice(NICENESS)
    days.play()
