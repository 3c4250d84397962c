"""The roles of steps, and a stage of steps.

    QueryHydrator.hydrate_request(request)   → {name: array}     added to request.features
    Source.recall(request)                   → Candidates        unique ids, finite scores, at most its quota
    Merger.merge(request, parts)             → Candidates        unique ids of parts, at most its limit
    Hydrator.hydrate(request, candidates)    → {column: (N, …)}  "rows" sets Candidates.rows: −1 … n_rows − 1
    Filter.keep(request, candidates)         → (N,) bool
    Scorer.score(request, candidates)        → (N,) numbers      finite as float32
    Selector.select(request, candidates)     → Selection         distinct indices, best first, at most its k
    SideEffect.run(request, page)            after the response, on a thread of its own

A step reads vectors, rows and columns of items from ``request.index`` only: all steps of a request see one
index generation. ``request.online`` and ``request.online_list(name)`` have the newest events, as of one
moment; they are None if there is no online store.

``karec.pipeline.checks`` calls each step and checks shapes, dtypes and order. Only it calls
``Candidates.take``: only a filter or a selector drops candidates, and only a selector reorders them. A step
may return ``StepOutput(value, notes)`` instead of its value; the notes go into the trace.

``on_failure`` says what a failure means: "fail" fails the request, "skip" continues without the step, and
``Page.degraded`` names it. Only failures of the world (``Unavailable``, ``OSError``) can be skipped; other
errors are always raised. A side effect cannot fail a request.

A step declares what it ``needs`` and ``gives``, so that the config checks a chain when it builds it:

    "request.NAME"   request.features["NAME"]        given by query hydrators
    "rows"           rows in the item index          given by a hydrator of the column "rows"
    "scores"         Candidates.scores               given by mergers, scorers, selectors
    "column.NAME"    Candidates.columns["NAME"]      given by hydrators

A step returns all that it declares to give. A need must be given by an earlier step; a side effect may need
what any step gives. Inputs that a step can do without are not declared. ``needs`` and ``gives`` are class
attributes; ``__init__`` may set them on the instance if they depend on its settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, Literal

import numpy as np

from karec.errors import ContractError
from karec.pipeline.checks import STAGE_ROLES, run_step, without
from karec.pipeline.deadline import RESERVED_STAGES, Clock, check_fallback
from karec.pipeline.trace import RELAXED, FallbackReason, StepTrace
from karec.pipeline.types import EMPTY, Array, Candidates, Page, Request, Selection, StepOutput

OnFailure = Literal["fail", "skip"]
MAX_REFILLS = 8  # rounds in which other candidates take the places of those that a late filter dropped


class Step(ABC):
    """Base of all roles. ``is_rule``: the step keeps a rule of the page, so that a fallback contains it."""

    role: ClassVar[str]
    is_rule: ClassVar[bool] = False
    name: str = ""
    on_failure: OnFailure = "fail"
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


class QueryHydrator(Step):
    role = "query_hydrator"

    @abstractmethod
    def hydrate_request(self, request: Request) -> Mapping[str, Array] | StepOutput[Mapping[str, Array]]: ...


class Source(Step):
    """One retrieval method. Candidates have the rows that it looked up in ``request.index``, else −1.

    quota        how many items it may return
    reason       what its items have in common, for people
    min_items    how many of its items leave recall at least, if it returns as many
    priority     sources of a higher priority come first in the merged list; ties keep their order
    timeout_ms   the request continues without the source after this time; None: the request waits
    why          reason for the people who see an item, for example "because you sang {item}"; "": none. It
                 needs ``causes``
    is_verified  set to True in a class whose tests check that ids are unique: no check at run time. Not
                 inherited
    has_all      True if it returns every item with a large enough quota. Not inherited
    """

    role = "source"
    has_all: ClassVar[bool] = False
    quota: int
    reason: str = ""
    min_items: int = 0
    priority: int = 0
    timeout_ms: float | None = None
    why: str = ""

    @abstractmethod
    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]: ...

    def causes(self, request: Request, ids: Array) -> Array:
        """Returns (N,) int64: the item of the user for which the source returned each of ``ids`` (N,), −1 for
        none.

        Only sources whose items come from single items of the user have causes: others would reveal what
        friends or communities do.
        """
        return np.full(len(ids), -1)


class Merger(Step):
    """Makes one list of the candidates of all sources.

    limit        how many items it returns at most; None: no limit
    is_verified  set to True in a class whose tests compare it with an oracle: no check at run time of unique
                 ids and of ``sources``, which costs more than the merge. Not inherited
    """

    role = "merger"
    gives = ("scores",)
    limit: int | None = None

    @abstractmethod
    def merge(self, request: Request, parts: Sequence[Candidates]) -> Candidates | StepOutput[Candidates]: ...


class Hydrator(Step):
    role = "hydrator"

    @abstractmethod
    def hydrate(
        self, request: Request, candidates: Candidates
    ) -> Mapping[str, Array] | StepOutput[Mapping[str, Array]]: ...


class Filter(Step):
    role = "filter"
    is_rule = True
    reason: str = "filtered"

    @abstractmethod
    def keep(self, request: Request, candidates: Candidates) -> Array | StepOutput[Array]: ...


class Scorer(Step):
    role = "scorer"
    gives = ("scores",)

    @abstractmethod
    def score(self, request: Request, candidates: Candidates) -> Array | StepOutput[Array]: ...


class Selector(Step):
    """Selects items of the candidates.

    k            how many it selects at most; None: the request's k
    keeps_rules  True: it keeps rules of the page, also for pinned items. As the last selector of the last
                 stage it gets more items if the candidates cannot keep them (``Stage.run``). Not inherited
    """

    role = "selector"
    keeps_rules: ClassVar[bool] = False
    k: int | None = None

    @abstractmethod
    def select(self, request: Request, candidates: Candidates) -> Selection: ...


class SideEffect(Step):
    """Gets each page after the caller. It belongs to one ``SideEffectQueue``.

    stages    the stages whose scored candidates it reads; None: all
    has_view  whether its request still has the index view, whose generation is held until then

    The queue calls ``is_enabled`` on the thread of the request and ``counts`` on any thread; the other
    methods on a thread of its own, one at a time. Whatever they raise is counted and logged. A fork copies
    the step: if it holds data back, it must compare ``os.getpid()``.
    """

    role = "side_effect"
    on_failure: OnFailure = "skip"
    stages: tuple[str, ...] | None = None
    has_view: ClassVar[bool] = False

    def is_enabled(self, request: Request) -> bool:
        """Returns True if the step runs for this request. The request waits: take microseconds."""
        return True

    @abstractmethod
    def run(self, request: Request, page: Page) -> None: ...

    def due(self) -> float | None:
        """Returns the time.monotonic() of the next ``flush``, None for none. Called after ``run``."""
        return None

    def flush(self) -> None:
        """Writes the data that is held. If it raises, it must drop the data."""

    def close(self) -> None:
        """Flushes and releases resources. The last call."""

    def counts(self) -> Mapping[str, int]:
        """Returns counts of the step's own."""
        return EMPTY


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
