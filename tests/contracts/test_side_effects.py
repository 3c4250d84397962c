"""Contract of side effects: they run for every page that they choose and do not change it."""

from __future__ import annotations

from step_cases import scene_of
from step_contract import ASKED, Asked, Build, Contract, Watched, ask, at_each_request, same, steps_of

from karec.bundle import Bundle
from karec.pipeline.cascade import Cascade


class TestSideEffects(Contract):
    role = "side_effect"

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """The page does not wait for the step, so its trace does not contain it."""
        assert [trace for trace in watched.answer.trace.steps if trace.role == self.role] == []

    def test_side_effect_runs_for_every_page(self, cascade: Cascade, bundle: Bundle) -> None:
        for request in ASKED.values():
            ask(cascade, request, bundle)
        (counts,) = cascade.close()
        assert (counts.seen, counts.done, counts.failed, counts.dropped) == (len(ASKED), len(ASKED), 0, 0)
        assert counts.reasons == {} and cascade.close() == (counts,)

    def test_page_is_the_same_without_side_effect(
        self, cascade: Cascade, use: str, bundle: Bundle, build: Build
    ) -> None:
        without = build(scene_of(use, watched=False))
        assert len(steps_of(without)) == len(steps_of(cascade)) - 1

        def test(request: Asked) -> None:
            watched = self.watch(cascade, use, request, bundle)
            cascade.side_effects[0].flush()
            answer, kept = ask(without, request, bundle)
            same(watched, Watched(use, watched.step, request, kept["before"], kept["after"], answer))

        at_each_request(test)
