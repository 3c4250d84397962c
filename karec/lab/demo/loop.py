"""The demo's closed loop: three days on the demo's own models, of a part of its world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from karec._clock import Progress
from karec.lab.simulate.arms import read_arms
from karec.lab.simulate.loop import play_on
from karec.lab.simulate.population import Part, Sizes, population_of
from karec.lab.simulate.report import loop_report, parts_of
from karec.lab.simulate.world import World
from karec.lab.simulate.world.satiation import KUAIRAND

DAYS = 3
PART = Part(users=300, works=5.0)  # some 30 s of one core


def page_parts(loop: Mapping[str, Any] | None) -> list[str]:
    """Pieces of HTML that tell of the report's ``loop``; none where there is none."""
    if loop is None:
        return []
    note = (
        f"A part of the platform: {PART.users:,} of its users might come, and the library held what they "
        f"were shown "
        f"before and {PART.works:g} in a hundred of the other works."
    )
    return [f"<p class=note>{note}</p>", *parts_of(loop)]


def play_demo(
    world: World, run: Path, out: Path, seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Plays the set ``demo`` in ``out`` on the days after those of ``world``, with the models of ``run``: its
    report.

    Satiation is the fitted one, whatever the world's past was made with.
    """
    people, works = len(world.truth.people), len(world.truth.works)
    fitted = replace(world, truth=replace(world.truth, satiation=KUAIRAND))
    population = population_of(fitted, DAYS, seed, PART)
    arms = read_arms("demo")
    sizes = Sizes(works, people, len(world.dataset.exposures), DAYS, seed)
    play_on(run, arms, population, sizes, out, progress)
    return loop_report(out, arms)
