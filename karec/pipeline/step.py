"""The roles that a step can play, and the wrapper that holds each step to its role's contract.

    QueryHydrator.hydrate_request(request)        → {name: array}        added to request.features
    Source.recall(request)                          → Candidates           unique ids, finite scores, at most
                                                    its quota
    Merger.merge(request, parts)                    → Candidates           unique ids of parts, at most its
                                                    limit
    Hydrator.hydrate(request, candidates)           → {column: (N, …)}     "rows" sets Candidates.rows: −1 …
                                                    n_rows − 1
    Filter.keep(request, candidates)                → (N,) bool
    Scorer.score(request, candidates)               → (N,) numbers         finite as float32
    Selector.select(request, candidates)            → Selection            distinct indices, best first, at
                                                    most its k
    SideEffect.run(request, page)                     after the answer, on the observer's own thread

Vectors, rows and columns of works are read from ``request.index`` alone: one generation of the item index for
all steps of a request. A step that takes ``index`` when it is built checks its settings against it, and no
more. In the same way ``request.online`` is what happened since the bundle was made, one moment of it, and
``request.online_list(name)`` a list of the user as of then; both are None where nobody keeps it.

A step may return ``StepOutput(value, notes)`` in place of its value, and the notes go into the trace (a
Selection has notes of its own). The wrapper checks shapes, dtypes and order, not the author; only it calls
``Candidates.take``, so only a Filter or a Selector can drop and only a Selector can reorder. A step says what
its failure means: ``on_failure = "fail"`` fails the request, ``"skip"`` goes on without it, and the answer's
``degraded`` names it. Only failures of the world count (``Unavailable``, ``OSError``); a programming error is
always raised. An observer cannot fail a request:
``karec.pipeline.side_effects`` counts and logs what it raises.

Where time is short, a step's ``substitute`` runs in its place, or a stage's in place of all its steps
(``karec.pipeline._substitute`` says what may stand in for what).

A step declares what it ``needs`` and what it ``gives``, so that a chain can be checked when it is built. The
names:

    "request.NAME"   request.features["NAME"]        given by request hydrators
    "rows"           rows in the item index          given by a hydrator of the column "rows"
    "scores"         Candidates.scores               given by mergers (0 where a channel gives none), scorers,
                     selectors
    "column.NAME"    Candidates.columns["NAME"]      given by hydrators

A step returns all that it declares to give. A need must be given by an earlier step: for a request hydrator
by those before it, for a source by the request hydrators, for a step of a stage by those, the merger and
every step before it, for an observer by any step. What a step reads if it is there, and can do without, is
not declared. Both are class attributes; ``__init__`` may set the instance's own where they depend on its
settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

from karec.errors import ContractError, Unavailable
from karec.pipeline._budget import Budget, Clock
from karec.pipeline._substitute import check_stage_substitute, check_substitute
from karec.pipeline.checks import OF_A_STAGE, Notes
from karec.pipeline.trace import NoTime, StepTrace
from karec.pipeline.types import EMPTY, Array, Candidates, Page, Request, Selection, StepOutput

V = TypeVar("V")

OnFailure = Literal["fail", "skip"]
SURVIVABLE = (Unavailable, OSError)


class Step(ABC):
    """What all roles share: a name for the trace, the meaning of a failure, what it reads and what it adds.

    ``substitute``: what runs in its place when there is no time for it; None: it runs always. ``is_rule``: it
    keeps a rule of the feed, and runs whatever the time.
    """

    role: ClassVar[str]
    is_rule: ClassVar[bool] = False
    name: str = ""
    on_failure: OnFailure = "fail"
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    substitute: Step | Literal["nothing"] | None = None


class QueryHydrator(Step):
    role = "query_hydrator"

    @abstractmethod
    def hydrate_request(self, request: Request) -> Mapping[str, Array] | StepOutput[Mapping[str, Array]]: ...


class Source(Step):
    """A recall channel. Rows of its works that it found in ``request.index`` are kept; −1 where it did not
    look.

    quota       how many works it may bring
    reason      what its works have in common, for people
    min_items   so many of its works at least leave recall, as far as it finds them
    priority    channels of a higher one come first in the merged list; of equal ones, in their order
    timeout_ms  after so long the request goes on without it (``karec.pipeline.deadline``); None: the
                request waits, and the channel runs on the request's own thread

    A class that sets ``is_verified = True`` says that a test checks its ids to be unique, and the
    wrapper does not look. It is not inherited.
    """

    role = "source"
    quota: int
    reason: str = ""
    min_items: int = 0
    priority: int = 0
    timeout_ms: float | None = None

    @abstractmethod
    def recall(self, request: Request) -> Candidates | StepOutput[Candidates]: ...


class Merger(Step):
    """Makes one list of what the channels found. ``limit``: how many works it leaves at most, None for no
    limit.

    A class that sets ``is_verified = True`` says that a test holds its results to an oracle; the wrapper then
    leaves out the checks that cost more than the merge: unique ids, of the parts, with the right bits. It is
    not inherited.
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
    """``k``: how many works it selects at most, None for the request's k."""

    role = "selector"
    k: int | None = None

    @abstractmethod
    def select(self, request: Request, candidates: Candidates) -> Selection: ...


class SideEffect(Step):
    """Gets each answer after the caller has it. ``stages``: the stages whose scored works it reads, None for
    all. ``has_view``: whether the request that it gets still sees the index, whose generation is held
    until then.

    ``karec.pipeline.side_effects.SideEffectQueue`` calls ``is_enabled`` on the request's thread and
    ``counts`` on any. It calls the others on a thread of its own, one at a time; whatever they raise is
    counted and logged. An observer belongs to one queue. A fork copies it as it is: one that holds something
    back compares ``os.getpid()``.
    """

    role = "side_effect"
    on_failure: OnFailure = "skip"
    stages: tuple[str, ...] | None = None
    has_view: ClassVar[bool] = False

    def is_enabled(self, request: Request) -> bool:
        """Whether it wants the answer to this request. The request waits for it: microseconds."""
        return True

    @abstractmethod
    def run(self, request: Request, page: Page) -> None: ...

    def due(self) -> float | None:
        """When ``flush`` is wanted, by time.monotonic(); None when nothing is held back. Asked after
        ``run``."""
        return None

    def flush(self) -> None:
        """Write what is held back. When it raises, nothing may be held back any more either."""

    def close(self) -> None:
        """Flush, and let go of what the observer holds; the last call."""

    def counts(self) -> Mapping[str, int]:
        """Counts of its own, beside those of requests."""
        return EMPTY


class Timed(NamedTuple, Generic[V]):
    """What a step returned, None if it failed and may be skipped; how long it took; why it failed; its
    notes."""

    result: V | None
    ms: float
    failure: str | None
    notes: Notes

    def trace(
        self,
        step: Step,
        stage: str,
        sizes: tuple[int, int],
        n_unknown: int = 0,
        reason: str = "",
        limit: int | None = None,
        no_time: NoTime | None = None,
    ) -> StepTrace:
        """``sizes``: how many works came in, and how many are left."""
        return StepTrace(
            stage,
            step.name,
            step.role,
            *sizes,
            self.ms,
            n_unknown,
            reason,
            self.failure,
            self.notes,
            limit,
            no_time,
        )


def timed(step: Step, run: Callable[[], tuple[V, Notes]], clock: Clock = perf_counter) -> Timed[V]:
    """Run ``run`` for ``step``."""
    start = clock()
    result: V | None = None
    notes: Notes = EMPTY
    failure = None
    try:
        result, notes = run()
    except SURVIVABLE as error:
        if step.on_failure == "fail":
            raise
        failure = f"{type(error).__name__}: {error}"
    return Timed(result, (clock() - start) * 1e3, failure, notes)


def standing_in(step: Step) -> Step:
    """What runs in place of ``step`` when there is no time for it; the step itself where nothing does."""
    return step.substitute if isinstance(step.substitute, Step) else step


def left_out(step: Step, stage: str, n: int, no_time: NoTime) -> StepTrace:
    """The trace of a step that is left out for lack of time; ``n`` works stay as they are, −1 where there are
    none."""
    return StepTrace(stage, step.name, step.role, max(n, 0), n, 0.0, no_time=no_time)


@dataclass(frozen=True)
class StageOutcome:
    """What a stage hands on, what it had scored before its first selector cut it, and the trace of its
    steps."""

    candidates: Candidates
    scored: Candidates
    steps: tuple[StepTrace, ...]


@dataclass(frozen=True)
class Stage:
    """A name and an ordered list of steps, each a Hydrator, Filter, Scorer or Selector.

    ``substitute``: the steps that run in place of all of them when there is no time; None: steps may have
    their own.
    """

    name: str
    steps: tuple[Step, ...]
    substitute: tuple[Step, ...] | None = None

    def __post_init__(self) -> None:
        for step in (*self.steps, *(self.substitute or ())):
            if getattr(step, "role", None) not in OF_A_STAGE:
                raise ContractError(
                    f"stage {self.name!r}: {step!r} plays no role of a stage; derive it from one of "
                    "Hydrator, Filter, Scorer, Selector"
                )
            check_substitute(step)
        if self.substitute is not None:
            check_stage_substitute(self.name, self.steps, self.substitute)

    def run(self, request: Request, candidates: Candidates, budget: Budget | None = None) -> StageOutcome:
        """``budget``: the time that is left, where the stage is the next unit; None: as long as it takes."""
        budget = Budget() if budget is None else budget
        scored: Candidates | None = None
        traces = []
        for step, no_time in self._due(budget):
            if step.substitute is not None and no_time is not None:
                traces.append(left_out(step, self.name, len(candidates), no_time))
                continue
            if step.role == "selector" and scored is None:
                scored = candidates
            candidates, trace = self._run_step(step, request, candidates, no_time, budget.clock)
            traces.append(trace)
        return StageOutcome(candidates, candidates if scored is None else scored, tuple(traces))

    def _due(self, budget: Budget) -> Iterator[tuple[Step, NoTime | None]]:
        """Each step that runs, told just before it does, and why it runs as a substitute; one that is left
        out comes itself, with the reason."""
        if self.substitute is None:
            for step in self.steps:
                no_time = budget.short()
                yield (standing_in(step) if no_time is not None else step), no_time
                budget.done()
            return
        no_time = budget.short()
        for step in self.steps if no_time is None else self.substitute:
            yield step, no_time
        budget.done()

    def _run_step(
        self, step: Step, request: Request, before: Candidates, no_time: NoTime | None, clock: Clock
    ) -> tuple[Candidates, StepTrace]:
        done = timed(step, lambda: OF_A_STAGE[step.role](step, request, before), clock)
        after = before if done.result is None else done.result
        reason, limit = getattr(step, "reason", ""), step.k if isinstance(step, Selector) else None
        sizes = len(before), len(after)
        return after, done.trace(step, self.name, sizes, after.n_unknown, reason, limit, no_time)
