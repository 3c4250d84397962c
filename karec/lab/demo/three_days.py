"""The demo's second process: simulates three days with the page policy and with the ranker's order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from karec.lab.simulate.arms import read_arms
from karec.lab.simulate.loop import simulate_with_models
from karec.lab.simulate.population import Part, Sizes, population_of
from karec.lab.simulate.report import loop_report
from karec.lab.simulate.world import World
from karec.lab.simulate.world.satiation import KUAIRAND
from karec.learn.second_process import DeferredTask, StartedTask, start_task
from karec.times import Progress

MIN_ROWS = 50_000  # impressions; with fewer, a process takes longer to start than it saves
DAYS = 3
PART = Part(users=300, works=5.0)  # about 30 s of one core


@dataclass(frozen=True, eq=False)
class ThreeDays:
    """Task: plays the arms ``demo`` into ``out`` on the days after ``world``, with the models of ``run``.

    The satiation is the fitted one, whatever the past of the world was made with.
    """

    world: World
    run_folder: Path
    out: Path
    seed: int

    def run(self, progress: Progress) -> dict[str, Any]:
        """Returns the report of the simulation."""
        truth, n_impressions = self.world.truth, len(self.world.dataset.exposures)
        fitted = replace(self.world, truth=replace(truth, satiation=KUAIRAND))
        population = population_of(fitted, DAYS, self.seed, PART)
        arms = read_arms("demo")
        sizes = Sizes(len(truth.works), len(truth.people), n_impressions, DAYS, self.seed)
        simulate_with_models(self.run_folder, arms, population, sizes, self.out, progress)
        return loop_report(self.out, arms)

    def start(self, progress: Progress) -> StartedTask[dict[str, Any]]:
        """Starts the task in a second process if the world is large enough, else defers it."""
        is_large = len(self.world.dataset.exposures) >= MIN_ROWS
        return start_task(self, progress) if is_large else DeferredTask(self, progress)
