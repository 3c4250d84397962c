"""Checks the chain of a scene when its cascade is built: names, limits, and the needs of each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TypeVar

from karec.config.registry import EXPOSURE_STEPS, step_classes, steps_that_give
from karec.errors import ConfigError
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Merger, QueryHydrator, Selector, SideEffect, Source, Step
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
    """Yields every mistake that ``check_wiring`` refuses."""
    yield from _name_mistakes(sources, stages, place)
    yield from _min_items_mistakes(sources, merger, place)
    yield from _end_mistakes(stages, place)
    yield from _random_position_mistakes(stages, side_effects, place)
    yield from _side_effect_mistakes(stages, side_effects, place)
    yield from _need_mistakes(query, sources, merger, stages, side_effects, place)


def with_exposure_control(stage: Stage, control: Step) -> Stage:
    """Returns ``stage`` with ``control`` before its first selector, also in its fallback."""

    def insert(steps: Sequence[Step]) -> tuple[Step, ...]:
        position = next((i for i, step in enumerate(steps) if step.role == "selector"), len(steps))
        return (*steps[:position], control, *steps[position:])

    fallback = None if stage.fallback is None else insert(stage.fallback)
    return replace(stage, steps=insert(stage.steps), fallback=fallback)


def _entries(steps: Iterable[S], place: Place, scene: Place) -> list[tuple[S, Place]]:
    """Returns each step with its place. Steps added by the table ``exposure`` have the table's place."""
    added = {step_classes()[use] for use in EXPOSURE_STEPS}
    position = count()
    return [(step, scene["exposure"] if type(step) in added else place[next(position)]) for step in steps]


def _name_mistakes(sources: Sequence[Step], stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    for key, names in (("recall", [s.name for s in sources]), ("stages", [s.name for s in stages])):
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            yield place[key].refusal(
                f"the name {repeated[0]!r} appears twice; give one of them another `name`"
            )


def _min_items_mistakes(sources: Sequence[Source], merger: Merger, place: Place) -> Iterator[ConfigError]:
    total = sum(source.min_items for source in sources)
    if merger.limit is not None and total > merger.limit:
        yield place["recall"].refusal(
            f"min_items of the sources sum to {total}, above limits.recall = {merger.limit}: make them "
            f"smaller"
        )


def _end_mistakes(stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    last = stages[-1].steps[-1] if stages and stages[-1].steps else None
    if not isinstance(last, Selector) or getattr(last, "k", None) is not None:
        yield place["stages"].refusal(
            "the last step must be a selector without k, for example top_k: it takes the k of the request"
        )
        return
    fallback = stages[-1].fallback
    if fallback is not None and not (isinstance(fallback[-1], Selector) and fallback[-1].k is None):
        yield place["stages"].refusal("the fallback of the last stage must end with a selector without k too")
    yield from _small_fallbacks(stages, place)


def _small_fallbacks(stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    """Yields the fallbacks that keep fewer items than the stages keep without them."""
    limits = [
        step.k
        for stage in stages
        for step in stage.steps
        if isinstance(step, Selector) and step.k is not None
    ]
    for i, stage in enumerate(stages):
        for step in stage.fallback or ():
            if isinstance(step, Selector) and step.k is not None and step.k < min(limits, default=step.k + 1):
                kept = f"{min(limits)}" if limits else "the request's k"
                yield place["stages"][i]["fallback"].refusal(
                    f"the fallback keeps {step.k} items ({step.name}), the stages keep {kept}"
                )


def _random_position_mistakes(
    stages: Sequence[Stage], side_effects: Sequence[Step], place: Place
) -> Iterator[ConfigError]:
    """Yields an error for random positions whose propensities are not logged, or that later steps change."""
    classes = step_classes()
    has_rank_log = any(isinstance(step, classes["rank_log"]) for step in side_effects)
    for i, stage in enumerate(stages):
        for key, steps in (("steps", stage.steps), ("fallback", stage.fallback or ())):
            for step, step_place in _entries(steps, place["stages"][i][key], place):
                is_last = stage is stages[-1] and step is steps[-1]
                # A subclass may log its propensities itself.
                if type(step) is classes["random_position"] and not has_rank_log:
                    yield step_place.refusal(
                        f"{step.name} needs the side effect rank_log, which logs its propensities: add "
                        '{ use = "rank_log", folder = "rank_log" } to side_effects'
                    )
                elif isinstance(step, classes["random_position"]) and has_rank_log and not is_last:
                    yield step_place.refusal(
                        f"{step.name} is followed by other steps, expected the last step of the last stage"
                    )


def _side_effect_mistakes(
    stages: Sequence[Stage], side_effects: Sequence[Step], place: Place
) -> Iterator[ConfigError]:
    names = [stage.name for stage in stages]
    for step, step_place in _entries(side_effects, place["side_effects"], place):
        if step.on_failure == "fail":
            yield step_place.refusal(
                f"{step.name} runs after the page was returned and cannot fail it: remove on_failure"
            )
        for stage in getattr(step, "stages", None) or ():
            if stage not in names:
                yield step_place.refusal(f"{step.name} reads the stage {stage!r}; there are {names}")


@dataclass
class _Chain:
    """Names that the steps before the next one provide.

    givers      {name: the step that gives it}
    uncertain   {name: the stage that gives it and whose fallback does not}
    all_givers  {name: a step that gives it} of the whole scene, also of later steps
    scene       the place of the scene
    """

    givers: dict[str, Step]
    uncertain: dict[str, str]
    all_givers: Mapping[str, str]
    scene: Place

    def copy(self) -> _Chain:
        return _Chain(dict(self.givers), dict(self.uncertain), self.all_givers, self.scene)

    def append(self, entries: Iterable[Entry]) -> Iterator[ConfigError]:
        """Yields the mistakes of steps that run one after another, and adds what they give."""
        for step, place in entries:
            yield from self.mistakes(step, place)
            for name in step.gives:
                self.uncertain.pop(name, None)
                # of several givers, the first one that fails the request if it fails
                if name not in self.givers or self.givers[name].on_failure == "skip":
                    self.givers[name] = step

    def mistakes(self, step: Step, place: Place) -> Iterator[ConfigError]:
        """Yields the needs of ``step`` that are missing, or may be missing in a request."""
        missing = [need for need in step.needs if need not in self.givers]
        if missing:
            remedy = self._remedy(step, missing[0])
            yield place.refusal(f"the step {step.name} needs {missing[0]}: {remedy}")
            return
        for need in step.needs:
            giver = self.givers[need]
            if step.on_failure == "fail" and giver.on_failure == "skip":
                yield place.refusal(
                    f"the step {step.name} needs {need}, which is missing when {giver.name} fails and is "
                    f'skipped: give {step.name} on_failure = "skip" too, or {giver.name} on_failure = "fail"'
                )
        for need in step.needs:
            if need in self.uncertain:
                yield place.refusal(
                    f"the step {step.name} needs {need}, which the fallback of {self.uncertain[need]} does "
                    "not give: add a step that gives it to the fallback"
                )

    def _remedy(self, step: Step, need: str) -> str:
        if need in self.all_givers:
            return f"{self.all_givers[need]} gives it: put it before {step.name}"
        known = steps_that_give(need)
        if not known:
            return f"no step of karec gives it: a step of your own must declare gives = ({need!r},)"
        position = "before it"
        if step.role == "side_effect":
            position = "into a stage"
        elif need.startswith("request.") and step.role != "query_hydrator":
            position = f"into {self.scene.keys}.query"
        return f"put {' or '.join(known)} {position}"


def _need_mistakes(
    query: Sequence[Step],
    sources: Sequence[Step],
    merger: Step,
    stages: Sequence[Stage],
    side_effects: Sequence[Step],
    place: Place,
) -> Iterator[ConfigError]:
    """Yields the needs of steps that no earlier step gives (``karec.pipeline.step`` defines needs).

    A step with on_failure = "skip" may give nothing, so a step that fails the request must not need its
    output. What a stage gives and its fallback does not, only the stage itself and side effects may need.
    """
    hydrators = _entries(query, place["query"], place)
    merging: list[Entry] = [(merger, place["recall"])]
    by_stage = [_entries(stage.steps, place["stages"][i]["steps"], place) for i, stage in enumerate(stages)]
    last = _entries(side_effects, place["side_effects"], place)
    entries = (*hydrators, *merging, *chain.from_iterable(by_stage), *last)
    scene = _Chain({}, {}, {name: step.name for step, _ in entries for name in step.gives}, place)
    yield from scene.append(hydrators)
    for source, source_place in _entries(sources, place["recall"], place):
        yield from scene.mistakes(source, source_place)
    yield from scene.append(merging)
    for i, (stage, stage_entries) in enumerate(zip(stages, by_stage, strict=True)):
        with_fallback = scene.copy()
        yield from scene.append(stage_entries)
        if stage.fallback is not None:
            fallback = _entries(stage.fallback, place["stages"][i]["fallback"], place)
            yield from with_fallback.append(fallback)
            new = scene.givers.keys() - with_fallback.givers.keys()
            scene.uncertain |= dict.fromkeys(new, f"the stage {stage.name}")
            scene.uncertain |= with_fallback.uncertain
    scene.uncertain.clear()
    yield from scene.append(last)
