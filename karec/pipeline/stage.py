"""A stage of a cascade: a named list of steps that hydrate, filter, score and select candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from karec.errors import ContractError
from karec.pipeline.checks import STAGE_ROLES, run_step, without
from karec.pipeline.creator_arms import CreatorArms
from karec.pipeline.deadline import RESERVED_STAGES, Clock, check_fallback
from karec.pipeline.step import Step
from karec.pipeline.trace import RELAXED, FallbackReason, StepTrace
from karec.pipeline.types import Candidates, Request

MAX_REFILLS = 8  # rounds in which other candidates take the places of those that a late filter dropped


@dataclass(frozen=True)
class StageOutcome:
    """Candidates after a stage.

    scored  those before its first selector
    passed  those that passed all its filters, before the selectors that follow
    """

    candidates: Candidates
    scored: Candidates
    passed: Candidates
    steps: tuple[StepTrace, ...]


@dataclass(frozen=True)
class Stage:
    """A named list of hydrators, filters, scorers and selectors.

    ``fallback``: the steps that run instead of ``steps`` if the time until the deadline is short. It contains
    all filters and rules of ``steps``. None: the stage always runs. ``creator_arms``: merges the
    orders of several arms before the first selector; a fallback and the reserve use the order of control.
    """

    name: str
    steps: tuple[Step, ...]
    fallback: tuple[Step, ...] | None = None
    creator_arms: CreatorArms | None = None

    def __post_init__(self) -> None:
        if self.name in RESERVED_STAGES:
            raise ContractError(f"a stage is named {self.name!r}, expected none of {RESERVED_STAGES}")
        for step in (*self.steps, *(self.fallback or ())):
            if getattr(step, "role", None) not in STAGE_ROLES:
                raise ContractError(
                    f"stage {self.name!r}: {step!r} has no role of a stage. Derive it from one of Hydrator, "
                    "Filter, Scorer, Selector."
                )
        if self.fallback is not None:
            check_fallback(self.name, self.steps, self.fallback)

    def run(
        self,
        request: Request,
        candidates: Candidates,
        fallback: FallbackReason | None = None,
        clock: Clock = perf_counter,
        *,
        min_items: int = 0,
        reserve: Callable[[], Candidates] | None = None,
    ) -> StageOutcome:
        """Runs ``steps``, or the fallback if there is a reason for it.

        If fewer than ``min_items`` are left and filters after the first selector dropped items, the steps
        from this selector on run again without these items, at most MAX_REFILLS times: other candidates take
        their places, and later rules see all of them. The trace has the filters of earlier rounds that
        dropped items, then the last round.

        If fewer than ``min_items`` are left, or the last selector that keeps rules notes relaxed ones, the
        steps from this selector on run again with more items behind its candidates: those that earlier
        selectors of this stage left out, then those of ``reserve``, which the stage before left out. Both are
        in the order of their scores. They pass the other steps before it, and all filters before it see them
        and its candidates together.
        """
        steps = self.steps if fallback is None else self.fallback or ()
        selectors = [i for i, step in enumerate(steps) if step.role == "selector"]
        last_filter = max((i for i, step in enumerate(steps) if step.role == "filter"), default=-1)
        n_first = selectors[0] if selectors else len(steps)
        n_passed = next((i for i in selectors if i > last_filter), len(steps))
        run = _StageRun(self.name, request, fallback, clock, min_items)

        first = run.run_steps(steps[:n_first], candidates)
        if self.creator_arms is not None and fallback is None:
            first = run.merge_arms(self.creator_arms, first)
        rest = run.run_and_refill(steps[n_first:], first.candidates)
        passed = rest.lists[n_passed - n_first]
        at_rules = max((i for i in selectors if getattr(steps[i], "keeps_rules", False)), default=None)
        if reserve is not None and at_rules is not None:
            rules = steps[at_rules:]  # and the steps after them
            if RELAXED in rest.traces[-len(rules)].notes or len(rest.candidates) < min_items:
                before_rules = steps[n_first:at_rules]
                pool = run.add_reserve(steps[:n_first], before_rules, rest.lists[: -len(rules)], reserve)
                last = run.run_and_refill(rules, pool)
                rest = _StepsRun(last.lists, [*rest.traces[: -len(rules)], *last.traces])
        return StageOutcome(rest.candidates, first.candidates, passed, (*first.traces, *rest.traces))


@dataclass(frozen=True)
class _StepsRun:
    """The result of a list of steps.

    lists   the candidates before the first step, then those after each
    traces  of each step
    """

    lists: list[Candidates]
    traces: list[StepTrace]

    @property
    def candidates(self) -> Candidates:
        return self.lists[-1]


@dataclass(frozen=True)
class _StageRun:
    """Runs lists of steps of the stage ``name`` for one request."""

    name: str
    request: Request
    fallback: FallbackReason | None
    clock: Clock
    min_items: int

    def run_steps(self, steps: Sequence[Step], candidates: Candidates) -> _StepsRun:
        lists, traces = [candidates], []
        for step in steps:
            candidates, trace = self._run_step(step, candidates)
            lists.append(candidates)
            traces.append(trace)
        return _StepsRun(lists, traces)

    def merge_arms(self, arms: CreatorArms, control: _StepsRun) -> _StepsRun:
        """Returns the run of control with the merged order of all arms, and the traces of all arms."""
        runs = [self.run_steps(steps, control.lists[arms.n_shared]) for steps in arms.steps]
        start = self.clock()
        merged, n_items = arms.merge(self.request, control.candidates, [run.candidates for run in runs])
        ms = (self.clock() - start) * 1e3
        n = len(merged)
        trace = StepTrace(self.name, "creator_arms", "scorer", n, n, ms, notes={"n_items": n_items})
        traces = [*control.traces, *(step for run in runs for step in run.traces), trace]
        return _StepsRun([*control.lists[:-1], merged], traces)

    def run_and_refill(self, steps: Sequence[Step], candidates: Candidates) -> _StepsRun:
        """Runs ``steps``, and again without the items that their filters drop if too few items are left.

        The traces are those of filters that dropped items in earlier rounds, then those of the last round.
        """
        result = self.run_steps(steps, candidates)
        earlier_traces: list[StepTrace] = []
        for _ in range(MAX_REFILLS):
            lists = result.lists
            dropping = [
                i
                for i, step in enumerate(steps)
                if step.role == "filter" and len(lists[i + 1]) < len(lists[i])
            ]
            if not dropping or len(lists[-1]) >= self.min_items:
                break
            ids = np.concatenate([np.setdiff1d(lists[i].ids, lists[i + 1].ids) for i in dropping])
            if len(lists[0]) - len(ids) <= len(lists[-1]):
                break  # no other candidates are left
            earlier_traces += [result.traces[i] for i in dropping]
            result = self.run_steps(steps, without(lists[0], ids))
        return _StepsRun(result.lists, earlier_traces + result.traces)

    def add_reserve(
        self,
        scoring: Sequence[Step],
        selecting: Sequence[Step],
        lists: Sequence[Candidates],
        reserve: Callable[[], Candidates],
    ) -> Candidates:
        """Returns the candidates of the rules, then open items that selectors and the stage before left out.

        Args:
            scoring: the steps before the first selector.
            selecting: the steps from the first selector to the rules.
            lists: the candidates before the first step of ``selecting``, then those after each.
            reserve: see ``Stage.run``.
        """
        scoring_after = [step for step in selecting if step.role != "selector"]
        left_out = self.run_steps(scoring_after, without(lists[0], lists[-1].ids)).candidates
        spare = self.run_steps([*scoring, *scoring_after], reserve()).candidates
        pool, view = lists[-1], self.request.view
        for more in (left_out, spare):
            order = np.argsort(-more.scores, kind="stable")
            if view is not None:  # a selector may have left blocked items out
                order = order[view.is_open(ids=more.ids[order])]
            pool = pool.append(more.take(order))
        filters = [step for step in (*scoring, *selecting) if step.role == "filter"]
        return self.run_steps(filters, pool).candidates

    def _run_step(self, step: Step, before: Candidates) -> tuple[Candidates, StepTrace]:
        run = run_step(step, lambda: STAGE_ROLES[step.role](step, self.request, before), self.clock)
        after = before if run.result is None else run.result
        trace = run.to_trace(
            step,
            self.name,
            len(before),
            len(after),
            n_unknown=after.n_unknown,
            reason=getattr(step, "reason", ""),
            limit=getattr(step, "k", None) if step.role == "selector" else None,
            fallback=self.fallback,
        )
        return after, trace
