"""The demo's second process: it measures the first run, then plays three days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from karec.catalog.dataset import Dataset
from karec.evaluate.quality import evaluate_run
from karec.lab.report import Part, note
from karec.lab.simulate.arms import read_arms
from karec.lab.simulate.loop import play_on
from karec.lab.simulate.population import Part as PlatformPart
from karec.lab.simulate.population import Sizes, population_of
from karec.lab.simulate.report import loop_report, parts_of
from karec.lab.simulate.world import World
from karec.lab.simulate.world.satiation import KUAIRAND
from karec.learn.second_process import DeferredTask, StartedTask, Task, start_task
from karec.times import Progress

MIN_ROWS = 50_000  # exposures; with fewer, a process takes longer to start than it saves
DAYS = 3
PART = PlatformPart(users=300, works=5.0)  # about 30 s of one core


R = TypeVar("R")


def start_background_task(task: Task[R], dataset: Dataset, progress: Progress) -> StartedTask[R]:
    """Starts ``task`` in a second process if ``dataset`` is large enough, else defers it."""
    is_large = len(dataset.exposures) >= MIN_ROWS
    return start_task(task, progress) if is_large else DeferredTask(task, progress)


@dataclass(frozen=True, eq=False)
class Quality:
    """Task: ``evaluate_run`` of the run ``folder``."""

    dataset: Dataset
    folder: Path

    def run(self, progress: Progress) -> dict[str, Any]:
        return evaluate_run(self.dataset, self.folder, progress)


def page_parts(loop: Mapping[str, Any] | None) -> list[Part]:
    """Returns the parts of a page on the report's ``loop``; an empty list if it is None."""
    if loop is None:
        return []
    about = (
        f"A sample of the platform: {PART.users:,} of its users may come. The library has the works that "
        f"they were shown before and {PART.works:g} % of the others."
    )
    return [note(about), *parts_of(loop)]


@dataclass(frozen=True, eq=False)
class Loop:
    """Task: plays the arms ``demo`` into ``out`` on the days after ``world``, with the models of the run
    ``folder``.

    The satiation is the fitted one, whatever the past of the world was made with.
    """

    world: World
    folder: Path
    out: Path
    seed: int

    def run(self, progress: Progress) -> dict[str, Any]:
        """Returns the report of the simulation."""
        people, works = len(self.world.truth.people), len(self.world.truth.works)
        fitted = replace(self.world, truth=replace(self.world.truth, satiation=KUAIRAND))
        population = population_of(fitted, DAYS, self.seed, PART)
        arms = read_arms("demo")
        sizes = Sizes(works, people, len(self.world.dataset.exposures), DAYS, self.seed)
        play_on(self.folder, arms, population, sizes, self.out, progress)
        return loop_report(self.out, arms)
