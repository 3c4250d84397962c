"""Contracts of hydrators, filters, scorers and selectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from step_cases import most
from step_contract import Contract, Watched

from karec.bundle import Bundle


class OfAStage(Contract):
    """A step of a stage adds and repeats no id, and keeps the values of the other candidates."""

    adds: ClassVar[bool] = False
    scores: ClassVar[bool] = False

    def check(self, watched: Watched, bundle: Bundle) -> None:
        before, after = watched.before.copies, watched.after.copies
        assert watched.trace.role == self.role
        assert len(np.unique(after["ids"])) == len(after["ids"])
        assert np.isin(after["ids"], before["ids"]).all()
        dtypes = {"ids": np.int64, "rows": np.int32, "scores": np.float32, "sources": np.uint32}
        assert {name: after[name].dtype for name in dtypes} == dtypes
        assert all(
            len(array) == len(after["ids"])
            for name, array in after.items()
            if not name.startswith("request.")
        )
        assert np.isfinite(after["scores"]).all()
        order = np.argsort(before["ids"], kind="stable")
        came_from = order[np.searchsorted(before["ids"], after["ids"], sorter=order)]
        changed = {f"column.{name.removeprefix('column.')}" for name in watched.step.gives} | {"column.rows"}
        for name, array in before.items():
            if name.startswith("request."):
                np.testing.assert_array_equal(after[name], array, err_msg=name)
            elif not (name == "scores" and self.scores) and not (self.adds and f"column.{name}" in changed):
                np.testing.assert_array_equal(after[name], array[came_from], err_msg=name)
        if not self.adds:
            assert after.keys() == before.keys()
        self.check_role(watched)

    def check_role(self, watched: Watched) -> None:
        raise NotImplementedError


class TestHydrators(OfAStage):
    role = "hydrator"
    adds = True

    def check_role(self, watched: Watched) -> None:
        """The step adds the declared columns for all candidates, and drops and moves none."""
        before, after = watched.before.copies, watched.after.copies
        np.testing.assert_array_equal(after["ids"], before["ids"])
        assert after.keys() - before.keys() == set(watched.step.gives) - {"rows"}
        assert all(np.isfinite(after[name]).all() for name in set(watched.step.gives) & after.keys())


class TestFilters(OfAStage):
    role = "filter"

    def check_role(self, watched: Watched) -> None:
        """The step keeps the order and gives a reason for dropped candidates."""
        before, after = watched.before.copies["ids"], watched.after.copies["ids"]
        np.testing.assert_array_equal(after, before[np.isin(before, after)])
        assert watched.trace.reason and watched.trace.n_removed == len(before) - len(after)


class TestScorers(OfAStage):
    role = "scorer"
    scores = True

    def check_role(self, watched: Watched) -> None:
        """The step drops and moves no candidate."""
        np.testing.assert_array_equal(watched.after.copies["ids"], watched.before.copies["ids"])
        assert "scores" in watched.step.gives


class TestSelectors(OfAStage):
    role = "selector"
    scores = True

    def check_role(self, watched: Watched) -> None:
        """The step keeps at most its k or the request's; scores stay unless it declares "scores"."""
        before, after = watched.before.copies, watched.after.copies
        assert len(after["ids"]) <= min(most(watched.use, watched.asked.k), len(before["ids"]))
        if "scores" not in watched.step.gives:
            score_of = dict(zip(before["ids"].tolist(), before["scores"].tolist(), strict=True))
            assert after["scores"].tolist() == [score_of[work] for work in after["ids"].tolist()]
