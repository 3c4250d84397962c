"""A cascade as units of its time: what runs or gives way as a whole, in the order in which requests come
by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from karec.pipeline._budget import Unit
from karec.pipeline._usual import UsualTimes
from karec.pipeline.step import Stage, Step, standing_in

OUTSIDE = "outside"  # the place of what a request takes beside its steps


def units_of(
    usual: UsualTimes,
    has_state: bool,
    hydrators: Sequence[Step],
    recall: Sequence[Step],
    stages: Sequence[Stage],
) -> tuple[Unit, ...]:
    """Each with the times of its places in ``usual``; the reading of a live state is the first, where there
    is one."""

    def of_place(place: str) -> Unit:
        return Unit(place, ((place, usual.of(place)),))

    def of_step(step: Step, stage: str) -> Unit:
        place = f"{stage}.{step.name}"
        if step.substitute is None:
            return of_place(place)
        return replace(of_place(place), substitute=(usual.of(f"{place} ({standing_in(step).name})"),))

    units = [of_place("request.state")] if has_state else []
    units += [of_step(step, "request") for step in hydrators]
    units += [of_step(step, "recall") for step in recall]
    for stage in stages:
        if stage.substitute is None:
            units += [of_step(step, stage.name) for step in stage.steps]
            continue
        places = [f"{stage.name}.{step.name}" for step in stage.steps]
        instead = tuple(usual.of(f"{stage.name} ({step.name})") for step in stage.substitute)
        units.append(Unit(stage.name, tuple((place, usual.of(place)) for place in places), instead))
    return (*units, of_place(OUTSIDE))
