"""Checks the chain of all steps of a scene when its cascade is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from karec.config.registry import EXPOSURE_STEPS, step_classes, steps_that_give
from karec.errors import ConfigError
from karec.pipeline.cascade import Recall
from karec.pipeline.step import Merger, QueryHydrator, Selector, SideEffect, Source, Stage, Step
from karec.toml import Place

S = TypeVar("S", bound=Step)
Entry = tuple[Step, Place]


def check_wiring(
    query: Sequence[QueryHydrator],
    recall: Recall,
    stages: Sequence[Stage],
    side_effects: Sequence[SideEffect],
    place: Place,
) -> None:
    """Raises ConfigError if two names are equal, a step lacks what it needs, or no selector cuts the page to
    the request's k."""
    for mistake in wiring_mistakes(query, recall.sources, recall.merger, stages, side_effects, place):
        raise mistake


def wiring_mistakes(
    query: Sequence[Step],
    sources: Sequence[Source],
    merger: Merger,
    stages: Sequence[Stage],
    side_effects: Sequence[Step],
    place: Place,
) -> Iterator[ConfigError]:
    """Yields each mistake for which ``check_wiring`` raises."""
    yield from _names(sources, stages, place)
    yield from _min_items(sources, merger, place)
    yield from _end(stages, place)
    yield from _side_effects(stages, side_effects, place)
    yield from _needs(query, sources, merger, stages, side_effects, place)


def with_exposure_control(stage: Stage, control: Step) -> Stage:
    """Returns ``stage`` with ``control`` before its first selector, also in its fallback."""

    def inserted(steps: Sequence[Step]) -> tuple[Step, ...]:
        at = next((i for i, step in enumerate(steps) if step.role == "selector"), len(steps))
        return (*steps[:at], control, *steps[at:])

    fallback = None if stage.fallback is None else inserted(stage.fallback)
    return replace(stage, steps=inserted(stage.steps), fallback=fallback)


def _entries(steps: Iterable[S], place: Place, scene: Place) -> list[tuple[S, Place]]:
    """Returns each step with its place: of a step that the table ``exposure`` added, the table's."""
    added = {step_classes()[use] for use in EXPOSURE_STEPS}
    position = count()
    return [(step, scene["exposure"] if type(step) in added else place[next(position)]) for step in steps]


def _names(sources: Sequence[Step], stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    for key, names in (("recall", [s.name for s in sources]), ("stages", [s.name for s in stages])):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            yield place[key].refusal(f"the name {twice[0]!r} appears twice; give one of them another `name`")


def _min_items(sources: Sequence[Source], merger: Merger, place: Place) -> Iterator[ConfigError]:
    total = sum(source.min_items for source in sources)
    if merger.limit is not None and total > merger.limit:
        yield place["recall"].refusal(
            f"min_items of the sources sum to {total}, above limits.recall = {merger.limit}: make them "
            f"smaller"
        )


def _end(stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    last = stages[-1].steps[-1] if stages and stages[-1].steps else None
    if not isinstance(last, Selector) or getattr(last, "k", None) is not None:
        yield place["stages"].refusal("the last step must be a selector without k, which takes the request's")
        return
    fallback = stages[-1].fallback
    if fallback is not None and not (isinstance(fallback[-1], Selector) and fallback[-1].k is None):
        yield place["stages"].refusal("the fallback of the last stage must end with a selector without k too")
    yield from _fallback_sizes(stages, place)


def _fallback_sizes(stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    """Yields a mistake for each fallback that keeps fewer items than the stages."""
    limits = [
        step.k
        for stage in stages
        for step in stage.steps
        if isinstance(step, Selector) and step.k is not None
    ]
    for i, stage in enumerate(stages):
        for step in stage.fallback or ():
            if isinstance(step, Selector) and step.k is not None and step.k < min(limits, default=step.k + 1):
                least = f"{min(limits)}" if limits else "the request's k"
                yield place["stages"][i]["fallback"].refusal(
                    f"the fallback keeps {step.k} items ({step.name}), the stages keep {least}"
                )


def _side_effects(
    stages: Sequence[Stage], side_effects: Sequence[Step], place: Place
) -> Iterator[ConfigError]:
    names = [stage.name for stage in stages]
    for step, at in _entries(side_effects, place["side_effects"], place):
        if step.on_failure == "fail":
            yield at.refusal(
                f"{step.name} runs after the page was returned and cannot fail it: remove on_failure"
            )
        for stage in getattr(step, "stages", None) or ():
            if stage not in names:
                yield at.refusal(f"{step.name} reads the stage {stage!r}; there are {names}")


def _needs(
    query: Sequence[Step],
    sources: Sequence[Step],
    merger: Step,
    stages: Sequence[Stage],
    side_effects: Sequence[Step],
    place: Place,
) -> Iterator[ConfigError]:
    """Each need of a step must be among the gives of the steps before it; karec.pipeline.step says which
    steps count.

    What only steps with on_failure = "skip" give may be missing, so that no step that fails the request may
    need it. No later step may need what only the steps of a stage give, and its fallback does not; side
    effects may.
    """
    sources_at = _entries(sources, place["recall"], place)
    before = _entries(query, place["query"], place)
    after = [_entries(of.steps, place["stages"][i]["steps"], place) for i, of in enumerate(stages)]
    side_effects_at = _entries(side_effects, place["side_effects"], place)
    all_steps = (
        *before,
        (merger, place["recall"]),
        *(entry for entries in after for entry in entries),
        *side_effects_at,
    )
    every = {given: step.name for step, _ in all_steps for given in step.gives}
    given: dict[str, Step] = {}
    unsure: dict[str, str] = {}
    yield from _chain(before, given, unsure, every, place)
    for source, at in sources_at:
        yield from _lacking(source, given, unsure, every, at, place)
    yield from _chain([(merger, place["recall"])], given, unsure, every, place)
    for i, (stage, entries) in enumerate(zip(stages, after, strict=True)):
        given_before, unsure_before = dict(given), dict(unsure)
        yield from _chain(entries, given, unsure, every, place)
        if stage.fallback is not None:
            fallback = _entries(stage.fallback, place["stages"][i]["fallback"], place)
            yield from _chain(fallback, given_before, unsure_before, every, place)
            unsure |= dict.fromkeys(given.keys() - given_before.keys(), f"the stage {stage.name}")
            unsure |= unsure_before
    yield from _chain(side_effects_at, given, {}, every, place)


def _chain(
    entries: Sequence[Entry],
    given: dict[str, Step],
    unsure: dict[str, str],
    every: dict[str, str],
    place: Place,
) -> Iterator[ConfigError]:
    """Yields the mistakes of steps in a row. Adds what they give to ``given`` and removes it from ``unsure``:
    {name: the stage whose fallback does not give it}."""
    for step, at in entries:
        yield from _lacking(step, given, unsure, every, at, place)
        for name in step.gives:
            unsure.pop(name, None)
        _add_gives(step, given)


def _add_gives(step: Step, given: dict[str, Step]) -> None:
    """Into {name: the step that gives it}; of several, the first one that fails the request when it fails."""
    for name in step.gives:
        if name not in given or given[name].on_failure == "skip":
            given[name] = step


def _lacking(
    step: Step, given: dict[str, Step], unsure: dict[str, str], every: dict[str, str], at: Place, scene: Place
) -> Iterator[ConfigError]:
    missing = [need for need in step.needs if need not in given]
    if not missing:
        yield from _skipped_givers(step, given, at)
        for need in step.needs:
            if need in unsure:
                yield at.refusal(
                    f"the step {step.name} needs {need}, which the fallback of {unsure[need]} does not give: "
                    "add a step that gives it to the fallback"
                )
        return
    need = missing[0]
    if step.role == "side_effect":
        where = "into a stage"
    elif need.startswith("request.") and step.role != "query_hydrator":
        where = f"into {scene.keys}.query"
    else:
        where = "before it"
    if need in every:
        remedy = f"{every[need]} gives it: put it before {step.name}"
    elif known := steps_that_give(need):
        remedy = f"put {' or '.join(known)} {where}"
    else:
        remedy = f"no step of karec gives it: a step of your own must declare gives = ({need!r},)"
    yield at.refusal(f"the step {step.name} needs {need}: {remedy}")


def _skipped_givers(step: Step, given: dict[str, Step], at: Place) -> Iterator[ConfigError]:
    for need in step.needs:
        giver = given[need]
        if step.on_failure == "fail" and giver.on_failure == "skip":
            yield at.refusal(
                f"the step {step.name} needs {need}, which is missing when {giver.name} fails and is "
                f"skipped: give "
                f'{step.name} on_failure = "skip" too, or {giver.name} on_failure = "fail"'
            )
