"""A stage of a cascade: a named list of steps that hydrate, filter, score and select candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from karec.errors import ContractError
from karec.pipeline.checks import STAGE_ROLES, run_step, without
from karec.pipeline.deadline import RESERVED_STAGES, Clock, check_fallback
from karec.pipeline.step import Selector, Step
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
    all filters and rules of ``steps``. None: the stage always runs.
    """

    name: str
    steps: tuple[Step, ...]
    fallback: tuple[Step, ...] | None = None

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

        If the last selector keeps rules, and fewer than ``min_items`` are left or it notes relaxed rules, it
        runs again with more items behind its candidates: those that earlier selectors of this stage left out,
        then those of ``reserve``, which the stage before left out. Both stand in the order of their scores.
        They pass the other steps before it, and all filters before it see them and its candidates together.
        """
        steps = self.steps if fallback is None else self.fallback or ()
        selectors = [i for i, step in enumerate(steps) if step.role == "selector"]
        n_first = selectors[0] if selectors else len(steps)
        last_filter = max((i for i, step in enumerate(steps) if step.role == "filter"), default=-1)
        n_passed = next((i for i in selectors if i > last_filter), len(steps))

        def run(steps: Sequence[Step], candidates: Candidates) -> tuple[list[Candidates], list[StepTrace]]:
            return self._run_steps(steps, request, candidates, fallback, clock)

        def run_and_refill(
            steps: Sequence[Step], candidates: Candidates
        ) -> tuple[Candidates, list[Candidates], list[StepTrace]]:
            lists, last_traces = run(steps, candidates)
            traces: list[StepTrace] = []
            for _ in range(MAX_REFILLS):
                dropping = [
                    i
                    for i, step in enumerate(steps)
                    if step.role == "filter" and len(lists[i + 1]) < len(lists[i])
                ]
                if not dropping or len(lists[-1]) >= min_items:
                    break
                ids = np.concatenate([np.setdiff1d(lists[i].ids, lists[i + 1].ids) for i in dropping])
                if len(candidates) - len(ids) <= len(lists[-1]):
                    break  # no other candidates are left
                candidates = without(candidates, ids)
                traces += [last_traces[i] for i in dropping]
                lists, last_traces = run(steps, candidates)
            return candidates, lists, traces + last_traces

        lists_before, traces = run(steps[:n_first], candidates)
        scored = lists_before[-1]
        left, lists, last_traces = run_and_refill(steps[n_first:], scored)
        passed, n_rules = lists[n_passed - n_first], _last_rules(steps)
        if reserve is not None and n_rules is not None:
            n_last = len(steps) - n_rules
            if RELAXED in last_traces[-n_last].notes or len(lists[-1]) < min_items:
                pool = lists[-1 - n_last]
                others = [step for step in steps[:n_rules] if step.role != "selector"]
                rest, _ = run(others[n_first:], without(left, pool.ids))
                spare, _ = run(others, reserve())
                for more in (rest[-1], spare[-1]):
                    order = np.argsort(-more.scores, kind="stable")
                    if request.view is not None:  # a selector may have left blocked items out
                        order = order[request.view.is_open(ids=more.ids[order])]
                    pool = pool.append(more.take(order))
                pools, _ = run([step for step in others if step.role == "filter"], pool)
                _, lists, traces_of_rules = run_and_refill(steps[n_rules:], pools[-1])
                last_traces = [*last_traces[:-n_last], *traces_of_rules]
        return StageOutcome(lists[-1], scored, passed, (*traces, *last_traces))

    def _run_steps(
        self,
        steps: Sequence[Step],
        request: Request,
        candidates: Candidates,
        fallback: FallbackReason | None,
        clock: Clock,
    ) -> tuple[list[Candidates], list[StepTrace]]:
        """Returns the candidates before the first step and after each one, and the traces."""
        lists, traces = [candidates], []
        for step in steps:
            candidates, trace = self._run_step(step, request, candidates, fallback, clock)
            lists.append(candidates)
            traces.append(trace)
        return lists, traces

    def _run_step(
        self, step: Step, request: Request, before: Candidates, fallback: FallbackReason | None, clock: Clock
    ) -> tuple[Candidates, StepTrace]:
        run = run_step(step, lambda: STAGE_ROLES[step.role](step, request, before), clock)
        after = before if run.result is None else run.result
        trace = run.to_trace(
            step,
            self.name,
            len(before),
            len(after),
            n_unknown=after.n_unknown,
            reason=getattr(step, "reason", ""),
            limit=step.k if isinstance(step, Selector) else None,
            fallback=fallback,
        )
        return after, trace


def _last_rules(steps: Sequence[Step]) -> int | None:
    """Returns the index of the last selector, None if it keeps no rules."""
    last = max((i for i, step in enumerate(steps) if isinstance(step, Selector)), default=None)
    return None if last is None or not vars(type(steps[last])).get("keeps_rules") else last
