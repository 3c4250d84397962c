"""Observers: they see the answer and change nothing of it."""

from __future__ import annotations

import numpy as np
from step_cases import scene_of
from step_contract import Asked, Build, Contract, Watched, ask, at_each_request, steps_of

from karec.bundle import Bundle
from karec.cascade import Cascade


class TestObservers(Contract):
    role = "observer"

    def check(self, watched: Watched, bundle: Bundle) -> None:
        """It notes plain values."""
        assert all(isinstance(value, bool | int | float | str) for value in watched.trace.notes.values())

    def test_the_answer_is_the_same_without_it(self, cascade: Cascade, use: str, bundle: Bundle, build: Build) -> None:
        without = build(scene_of(use, watched=False))
        assert len(steps_of(without)) == len(steps_of(cascade)) - 1

        def test(asked: Asked) -> None:
            answers = [ask(each, asked, bundle)[0].candidates for each in (cascade, without)]
            np.testing.assert_array_equal(answers[0].ids, answers[1].ids)
            np.testing.assert_array_equal(answers[0].scores, answers[1].scores)

        at_each_request(test)
