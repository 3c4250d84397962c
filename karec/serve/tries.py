"""A scene's cascade with another diversity, or without some of its steps, to see what they do to a feed.

A variant shares index, models, live state and every step that stays with the cascade that serves. It has no
observers: nothing is logged of its feeds, and nothing that they show is counted as an exposure. It costs less
than a millisecond to make, so that none is kept.

A selector that is left out still cuts, to as many works as before: to the best by score where scores have
changed since the selector before it, else to the first. A step whose results a later one needs cannot be left
out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np

from karec.config.wiring import wiring_mistakes
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Selector, Stage, Step
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.selectors.top_k import TopK
from karec.toml import Place

ROOMS = {  # of the steps that page/variants.js shows first, by their module
    **dict.fromkeys(("dpp", "mmr", "ssd"), "diversify"),
    **dict.fromkeys(("exposure_control", "freshness", "quota", "tone"), "ecosystem"),
    "page_rules": "rerank",
}


@runtime_checkable
class Diverse(Protocol):
    """DPP, MMR, SSD, and selectors of one's own that have these two."""

    @property
    def diversity(self) -> float: ...
    def with_diversity(self, diversity: float) -> Self: ...


class Uncut(ValueError):
    """``field``: the field of the request that asks for what cannot be."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True)
class Choice:
    """A step of a stage. ``room``: a value of ``ROOMS``, "own" for a host's, or "other". ``optional``: it
    can be left out by itself. ``diversity``: of a step that has one.
    """

    place: str
    role: str
    room: str
    optional: bool
    diversity: float | None


class First(Selector):
    """The first ``k`` (None = ``request.k``) in the order that they have."""

    def __init__(self, k: int | None) -> None:
        self.k = k

    def select(self, request: Request, candidates: Candidates) -> Selection:
        k = request.k if self.k is None else self.k
        return Selection(np.arange(min(k, len(candidates))))


def variant(cascade: Cascade, diversity: float | None = None, without: Collection[str] = ()) -> Cascade:
    """``cascade`` without the steps at the places ``without`` ("rerank.dpp"), unobserved. ``diversity``: of
    the steps that have one, in the last stage that has such steps. Uncut: no such step, or one that cannot be
    left out.
    """
    places = [place for place, _ in _steps(cascade)]
    for place in without:
        if place not in places:
            raise Uncut(
                "without", f"the scene {cascade.scene!r} has no step {place!r}; its stages have {places}"
            )
    stages = _without(cascade.stages, frozenset(without))
    for mistake in _mistakes(cascade, stages):
        raise Uncut("without", f"not without {', '.join(without)}: {mistake}")
    if diversity is not None:
        stages = _diverse(stages, diversity, cascade.scene)
    return replace(cascade, stages=stages, side_effects=())


def choices(cascade: Cascade) -> list[Choice]:
    """The steps of all stages, in order."""
    return [
        Choice(
            place,
            step.role,
            _room(step),
            not any(_mistakes(cascade, _without(cascade.stages, frozenset([place])))),
            step.diversity if isinstance(step, Diverse) else None,
        )
        for place, step in _steps(cascade)
    ]


def tried_diversity(cascade: Cascade) -> float | None:
    """What ``diversity`` is now where ``variant`` changes it; None: nowhere."""
    for stage in reversed(cascade.stages):
        for step in reversed(stage.steps):
            if isinstance(step, Diverse):
                return step.diversity
    return None


def _steps(cascade: Cascade) -> Iterator[tuple[str, Step]]:
    for stage in cascade.stages:
        for step in stage.steps:
            yield f"{stage.name}.{step.name}", step


def _room(step: Step) -> str:
    package, _, rest = type(step).__module__.partition(".")
    return ROOMS.get(rest.rpartition(".")[2], "other") if package == "karec" else "own"


def _without(stages: Sequence[Stage], places: frozenset[str]) -> tuple[Stage, ...]:
    rescored = True  # since the last selector
    found = []
    for stage in stages:
        steps: list[Step] = []
        for step in stage.steps:
            if f"{stage.name}.{step.name}" not in places:
                steps.append(step)
            elif isinstance(step, Selector):
                cut = TopK(step.k) if rescored else First(step.k)
                cut.name = f"{step.name}, left out"
                steps.append(cut)
            else:
                continue
            rescored = step.role == "scorer" or (rescored and step.role != "selector")
        # a try has no deadline, and nothing stands in for a stage
        found.append(Stage(stage.name, tuple(steps)))
    return tuple(found)


def _mistakes(cascade: Cascade, stages: Sequence[Stage]) -> Iterator[str]:
    """What ``karec config check`` would say of the cascade with these stages."""
    recall = cascade.recall
    at = Place(Path("karec.toml"))["scenes"][cascade.scene]
    for mistake in wiring_mistakes(cascade.query_hydrators, recall.sources, recall.merger, stages, (), at):
        yield str(mistake)


def _diverse(stages: Sequence[Stage], diversity: float, scene: str) -> tuple[Stage, ...]:
    for i in reversed(range(len(stages))):
        if any(isinstance(step, Diverse) for step in stages[i].steps):
            steps = (
                step.with_diversity(diversity) if isinstance(step, Diverse) else step
                for step in stages[i].steps
            )
            return (*stages[:i], Stage(stages[i].name, tuple(steps)), *stages[i + 1 :])
    raise Uncut("diversity", f"no step of the scene {scene!r} that is left has a diversity")
