"""Contract of every step, whatever its role, and the requests that test it.

A step is built from karec.toml and runs in a cascade. The tests never call it directly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from step_cases import GIVERS, name_of, scene_of
from step_probes import Seen, arrays_of, brought, seen

from karec.bundle import Bundle
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Step
from karec.pipeline.types import Array, Page, Request

REMOVED, ADDED = (107, 128, 240), 999  # items only of the snapshot; an item only of the index
BLOCKED, ROLLED = (114, 373), (142, 149)  # items of both: blocked; of the next model version
STRANGERS = (7, 10**15)  # in neither
EVERYTHING = (*range(100, 380, 7), ADDED, *STRANGERS)


@dataclass(frozen=True)
class Asked:
    """A request, and the items that recall returns for it."""

    user_id: int = 3
    k: int = 5
    shown: tuple[int, ...] = ()
    works: tuple[int, ...] = EVERYTHING


ASKED = {
    "every item": Asked(),
    "an unknown user": Asked(user_id=10**12),
    "no items": Asked(works=()),
    "one item": Asked(works=(135,)),
    "one unknown item": Asked(works=(7,)),
    "items that the index lacks": Asked(works=(*REMOVED, *STRANGERS)),
    "blocked items": Asked(works=BLOCKED),
    "items of the next model version": Asked(works=ROLLED),
    "a session with shown items": Asked(shown=(135, 142, 7)),
    "a session with all items shown": Asked(shown=EVERYTHING),
    "more places than items": Asked(k=1000),
}
NUMBER = itertools.count()
Build = Callable[[str], Cascade]


@dataclass(frozen=True)
class Watched:
    """Input and output of a stage's step, and the page of the request."""

    use: str
    step: Step
    asked: Asked
    before: Seen
    after: Seen
    answer: Page

    @property
    def trace(self) -> Any:
        (result,) = [trace for trace in self.answer.trace.steps if trace.step == self.step.name]
        return result

    def arrays(self) -> dict[str, Array]:
        """Returns all output arrays with their present values."""
        stages = {"answer": self.answer.candidates, **self.answer.scored}
        answered = {f"{place}: {name}": a for place, c in stages.items() for name, a in arrays_of(c).items()}
        return {**self.after.copies, **answered}


def steps_of(cascade: Cascade) -> list[Step]:
    inside = [step for stage in cascade.stages for step in stage.steps]
    recall = [*cascade.recall.sources, cascade.recall.merger]
    return [
        *cascade.query_hydrators,
        *recall,
        *inside,
        *(queue.side_effect for queue in cascade.side_effects),
    ]


def step_of(use: str, cascade: Cascade) -> Step:
    """Returns the tested step of the scene of ``use``."""
    (result,) = [step for step in steps_of(cascade) if step.name == name_of(use)]
    return result


def same(one: Watched, other: Watched) -> None:
    mine, theirs = one.arrays(), other.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.dtype == theirs[name].dtype, name
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def ask(cascade: Cascade, asked: Asked, bundle: Bundle) -> tuple[Page, dict[str, Seen]]:
    """Returns the page, and the data that the probes of its scene kept."""
    request_id = f"request-{next(NUMBER)}"
    brought[request_id] = np.array(asked.works, np.int64)
    now = bundle.snapshot.time_ms
    answer = cascade.run(
        Request(asked.user_id, asked.k, time_ms=now, shown=asked.shown, request_id=request_id)
    )
    return answer, {place: seen.pop((of, place)) for of, place in list(seen) if of == request_id}


def at_each_request(test: Callable[[Asked], None]) -> None:
    """Runs ``test`` for every request of ASKED; a failure names the request."""
    for name, asked in ASKED.items():
        try:
            test(asked)
        except BaseException as error:
            error.add_note(f"at the request: {name}")
            raise


class Contract:
    """Tests that the suite of each role inherits. ``check`` tests the further promises of the role."""

    role: ClassVar[str]

    @pytest.fixture
    def scene(self, use: str) -> str:
        return scene_of(use)

    @pytest.fixture
    def cascade(self, scene: str, build: Build) -> Cascade:
        return build(scene)

    def watch(self, cascade: Cascade, use: str, asked: Asked, bundle: Bundle) -> Watched:
        answer, kept = ask(cascade, asked, bundle)
        return Watched(use, step_of(use, cascade), asked, kept["before"], kept["after"], answer)

    def check(self, watched: Watched, bundle: Bundle) -> None:
        raise NotImplementedError

    def test_output_satisfies_the_role(self, cascade: Cascade, use: str, bundle: Bundle) -> None:
        def test(asked: Asked) -> None:
            watched = self.watch(cascade, use, asked, bundle)
            assert watched.answer.degraded == ()
            self.check(watched, bundle)

        at_each_request(test)

    def test_input_is_not_changed(self, cascade: Cascade, use: str, bundle: Bundle) -> None:
        every = [self.watch(cascade, use, asked, bundle) for asked in ASKED.values()]
        cascade.close()
        for watched in every:
            for was in (watched.before, watched.after):
                for name, array in was.now().items():
                    np.testing.assert_array_equal(array, was.copies[name], err_msg=f"{watched.asked}: {name}")

    def test_equal_input_gives_equal_output(
        self, cascade: Cascade, use: str, scene: str, bundle: Bundle, build: Build
    ) -> None:
        built_again = build(scene)

        def test(asked: Asked) -> None:
            first = self.watch(cascade, use, asked, bundle)
            same(first, self.watch(cascade, use, asked, bundle))
            same(first, self.watch(built_again, use, asked, bundle))

        at_each_request(test)

    def test_output_is_equal_on_8_threads(self, cascade: Cascade, use: str, bundle: Bundle) -> None:
        asked = [replace(entry, user_id=user) for entry in ASKED.values() for user in (entry.user_id, 1, 2)]
        alone = [self.watch(cascade, use, entry, bundle) for entry in asked]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda entry: self.watch(cascade, use, entry, bundle), asked))
        for one, other in zip(alone, together, strict=True):
            same(one, other)

    def test_declared_needs_are_sufficient(
        self, cascade: Cascade, use: str, bundle: Bundle, build: Build
    ) -> None:
        givers = {giver: step_of(giver, build(scene_of(giver))) for giver in GIVERS if giver != use}
        needed, chain = [*step_of(use, cascade).needs], set()
        while needed:
            need = needed.pop()
            result = {giver for giver, step in givers.items() if need in step.gives} - chain
            needed += [more for giver in result for more in givers[giver].needs]
            chain |= result
        least = build(scene_of(use, chain=tuple(name for name in GIVERS if name in chain | {use})))
        at_each_request(lambda asked: self.check(self.watch(least, use, asked, bundle), bundle))
