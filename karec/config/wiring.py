"""Checks of a whole scene, which no step can make by itself: made once, when the cascade is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from karec._toml import Place
from karec.cascade import Recall
from karec.config.registry import steps_that_give
from karec.errors import ConfigError
from karec.stage import Merger, Observer, RequestHydrator, Selector, Source, Stage, Step


def check_wiring(
    request: Sequence[RequestHydrator],
    recall: Recall,
    stages: Sequence[Stage],
    observers: Sequence[Observer],
    place: Place,
) -> None:
    """Raises ConfigError when names clash, a step lacks what it needs, or nothing cuts the feed to the request's k."""
    for mistake in wiring_mistakes(request, recall.sources, recall.merger, stages, observers, place):
        raise mistake


def wiring_mistakes(
    request: Sequence[Step],
    sources: Sequence[Source],
    merger: Merger,
    stages: Sequence[Stage],
    observers: Sequence[Step],
    place: Place,
) -> Iterator[ConfigError]:
    """Every mistake of ``check_wiring``."""
    yield from _names(sources, stages, place)
    yield from _floors(sources, merger, place)
    yield from _end(stages, place)
    yield from _observed(stages, observers, place)
    yield from _needs(request, sources, merger, stages, observers, place)


class Steered(Protocol):
    """What a scene wants of exposure, and how things stand."""

    shared: bool

    def snapshot(self) -> Mapping[str, Any]:
        """Plain values for metrics: shares and prices of targets, caps, floors, what is unmet."""

    def hand_over(self, heir: Any) -> None:
        """``heir``, of the same scene in a newer cascade, goes on from how things stand here."""


def check_steered(exposure: Steered | None, steps: Sequence[Step], observers: Sequence[Step], place: Place) -> None:
    """Raises ConfigError for a table ``exposure`` that no step reads, or whose feeds nobody counts."""
    if exposure is None:
        return
    if not any(getattr(step, "exposure", None) is exposure for step in (*steps, *observers)):
        raise place["exposure"].refusal('no step reads it: put { use = "exposure" } into a stage, after its scores')
    if not exposure.shared and not any(getattr(observer, "exposure", None) is exposure for observer in observers):
        raise place["exposure"].refusal(
            'nobody counts what feeds show: put { use = "exposures" } into observers, or name the state of a process '
            "that does"
        )


def _names(sources: Sequence[Step], stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    for key, names in (("recall", [s.name for s in sources]), ("stages", [s.name for s in stages])):
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            yield place[key].refusal(f"the name {twice[0]!r} stands twice; give one of them another `name`")


def _floors(sources: Sequence[Source], merger: Merger, place: Place) -> Iterator[ConfigError]:
    floors = sum(source.floor for source in sources)
    if merger.limit is not None and floors > merger.limit:
        yield place["recall"].refusal(
            f"the floors sum to {floors}, {merger.limit} works leave recall: make them smaller"
        )


def _end(stages: Sequence[Stage], place: Place) -> Iterator[ConfigError]:
    last = stages[-1].steps[-1] if stages and stages[-1].steps else None
    if not isinstance(last, Selector) or getattr(last, "k", None) is not None:
        yield place["stages"].refusal("the last step must be a selector without k, which takes the request's")


def _observed(stages: Sequence[Stage], observers: Sequence[Step], place: Place) -> Iterator[ConfigError]:
    names = [stage.name for stage in stages]
    for i, observer in enumerate(observers):
        if observer.on_failure == "fail":
            yield place["observers"][i].refusal(
                f"{observer.name} runs after the answer and cannot fail it: leave out on_failure"
            )
        for stage in getattr(observer, "watches", None) or ():
            if stage not in names:
                yield place["observers"][i].refusal(f"{observer.name} watches the stage {stage!r}; there are {names}")


def _needs(
    request: Sequence[Step],
    sources: Sequence[Step],
    merger: Step,
    stages: Sequence[Stage],
    observers: Sequence[Step],
    place: Place,
) -> Iterator[ConfigError]:
    """Each need of a step must be among the gives of the steps before it; karec.stage says which steps count.

    What only steps with on_failure = "skip" give may be missing, so that no step that fails the request may need it.
    """
    chain: list[tuple[Step, Place]] = [(step, place["request"][i]) for i, step in enumerate(request)]
    channels = [(source, place["recall"][i]) for i, source in enumerate(sources)]
    after: list[tuple[Step, Place]] = [(merger, place["recall"])]
    for i, stage in enumerate(stages):
        after += [(step, place["stages"][i]["steps"][j]) for j, step in enumerate(stage.steps)]
    after += [(observer, place["observers"][i]) for i, observer in enumerate(observers)]
    every = {given: step.name for step, _ in (*chain, *after) for given in step.gives}
    given: dict[str, Step] = {}
    for step, at in chain:
        yield from _lacking(step, given, every, at, place)
        _add_gives(step, given)
    for source, at in channels:
        yield from _lacking(source, given, every, at, place)
    for step, at in after:
        yield from _lacking(step, given, every, at, place)
        _add_gives(step, given)


def _add_gives(step: Step, given: dict[str, Step]) -> None:
    """Into {name: the step that gives it}; of several, the first one that fails the request when it fails."""
    for name in step.gives:
        if name not in given or given[name].on_failure == "skip":
            given[name] = step


def _lacking(
    step: Step, given: dict[str, Step], every: dict[str, str], at: Place, scene: Place
) -> Iterator[ConfigError]:
    missing = [need for need in step.needs if need not in given]
    if not missing:
        yield from _outlived(step, given, at)
        return
    need = missing[0]
    if step.role == "observer":
        where = "into a stage"
    elif need.startswith("request.") and step.role != "request_hydrator":
        where = f"into {scene.keys}.request"
    else:
        where = "before it"
    if need in every:
        remedy = f"{every[need]} gives it: put it before {step.name}"
    elif known := steps_that_give(need):
        remedy = f"put {' or '.join(known)} {where}"
    else:
        remedy = f"no step of karec gives it: a step of your own must declare gives = ({need!r},)"
    yield at.refusal(f"the step {step.name} needs {need}: {remedy}")


def _outlived(step: Step, given: dict[str, Step], at: Place) -> Iterator[ConfigError]:
    for need in step.needs:
        giver = given[need]
        if step.on_failure == "fail" and giver.on_failure == "skip":
            yield at.refusal(
                f"the step {step.name} needs {need}, which is missing when {giver.name} fails and is skipped: give "
                f'{step.name} on_failure = "skip" too, or {giver.name} on_failure = "fail"'
            )
