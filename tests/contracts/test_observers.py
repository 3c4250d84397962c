"""Observers: they see every answer that they choose, and change nothing of it."""

from __future__ import annotations

from step_cases import scene_of
from step_contract import ASKED, Asked, Build, Contract, Watched, ask, at_each_request, same, steps_of

from karec.bundle import Bundle
from karec.pipeline.cascade import Cascade


class TestObservers(Contract):
    role = "side_effect"

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """The answer does not wait for it, and so has no trace of it."""
        assert [trace for trace in watched.answer.trace.steps if trace.role == self.role] == []

    def test_it_observes_every_answer_without_a_failure(self, cascade: Cascade, bundle: Bundle) -> None:
        for asked in ASKED.values():
            ask(cascade, asked, bundle)
        (counts,) = cascade.close()
        assert (counts.seen, counts.done, counts.failed, counts.dropped) == (len(ASKED), len(ASKED), 0, 0)
        assert counts.reasons == {} and cascade.close() == (counts,)

    def test_the_answer_is_the_same_without_it(
        self, cascade: Cascade, use: str, bundle: Bundle, build: Build
    ) -> None:
        without = build(scene_of(use, watched=False))
        assert len(steps_of(without)) == len(steps_of(cascade)) - 1

        def test(asked: Asked) -> None:
            watched = self.watch(cascade, use, asked, bundle)
            cascade.side_effects[0].flush()
            answer, kept = ask(without, asked, bundle)
            same(watched, Watched(use, watched.step, asked, kept["before"], kept["after"], answer))

        at_each_request(test)
