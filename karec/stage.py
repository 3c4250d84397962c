"""The roles that a step can play, and the wrapper that holds each step to its role's contract.

    RequestHydrator.hydrate_request(request)        → {name: array}        added to request.features
    Source.recall(request)                          → Candidates
    Merger.merge(request, parts)                    → Candidates           unique ids, at most its limit
    Hydrator.hydrate(request, candidates)           → {column: (N, …)}     the column "rows" sets Candidates.rows
    Filter.keep(request, candidates)                → (N,) bool
    Scorer.score(request, candidates)               → (N,) float32, finite
    Selector.select(request, candidates)            → Selection            distinct indices, best first
    Observer.observe(request, recommendation)       after the answer, on the observer's own thread

The wrapper checks shapes, dtypes and order, not the author; only it calls ``Candidates.take``, so only a Filter or a
Selector can drop and only a Selector can reorder. A step says what its failure means: ``on_failure = "fail"`` fails
the request, ``"skip"`` goes on without it, and the answer's ``degraded`` names it. Only failures of the world count
(``Unavailable``, ``OSError``); a programming error is always raised. An observer cannot fail a request:
``karec.observer_queue`` counts and logs what it raises.

A step declares what it ``needs`` and what it ``gives``, so that a chain can be checked when it is built. The names:

    "request.NAME"   request.features["NAME"]        given by request hydrators
    "rows"           rows in the item index          given by a hydrator of the column "rows"
    "scores"         Candidates.scores               given by mergers (0 where a channel gives none), scorers, selectors
    "column.NAME"    Candidates.columns["NAME"]      given by hydrators

A need must be given by an earlier step: for a request hydrator by those before it, for a source by the request
hydrators, for a step of a stage by those, the merger and every step before it, for an observer by any step. What a step
reads if it is there, and can do without, is not declared. Both are class attributes; ``__init__`` may set the
instance's own where they depend on its settings.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from karec.errors import ContractError, Unavailable
from karec.types import EMPTY, Array, Candidates, Recommendation, Request, Selection, StepTrace

OnFailure = Literal["fail", "skip"]
SURVIVABLE = (Unavailable, OSError)


class Step(ABC):
    """What all roles share: a name for the trace, the meaning of a failure, what it reads and what it adds."""

    role: ClassVar[str]
    name: str = ""
    on_failure: OnFailure = "fail"
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


class RequestHydrator(Step):
    role = "request_hydrator"

    @abstractmethod
    def hydrate_request(self, request: Request) -> Mapping[str, Array]: ...


class Source(Step):
    """A recall channel. ``quota``: how many works it may bring."""

    role = "source"
    quota: int

    @abstractmethod
    def recall(self, request: Request) -> Candidates: ...


class Merger(Step):
    role = "merger"
    gives = ("scores",)

    @abstractmethod
    def merge(self, request: Request, parts: Sequence[Candidates]) -> Candidates: ...


class Hydrator(Step):
    role = "hydrator"

    @abstractmethod
    def hydrate(self, request: Request, candidates: Candidates) -> Mapping[str, Array]: ...


class Filter(Step):
    role = "filter"
    why: str = "filtered"

    @abstractmethod
    def keep(self, request: Request, candidates: Candidates) -> Array: ...


class Scorer(Step):
    role = "scorer"
    gives = ("scores",)

    @abstractmethod
    def score(self, request: Request, candidates: Candidates) -> Array: ...


class Selector(Step):
    role = "selector"

    @abstractmethod
    def select(self, request: Request, candidates: Candidates) -> Selection: ...


class Observer(Step):
    """Told of each answer after it was given. ``watches``: the stages whose scored works it reads, None for all.

    ``karec.observer_queue.ObserverQueue`` calls ``chooses`` on the request's thread and ``counts`` on any. It calls the
    others on a thread of its own, one at a time; whatever they raise is counted and logged. An observer belongs to one
    queue. A fork copies it as it is: one that holds something back compares ``os.getpid()``.
    """

    role = "observer"
    on_failure: OnFailure = "skip"
    watches: tuple[str, ...] | None = None

    def chooses(self, request: Request) -> bool:
        """Whether it wants the answer to this request. The request waits for it: microseconds."""
        return True

    @abstractmethod
    def observe(self, request: Request, recommendation: Recommendation) -> None: ...

    def due(self) -> float | None:
        """When ``flush`` is wanted, by time.monotonic(); None when nothing is held back. Asked after ``observe``."""
        return None

    def flush(self) -> None:
        """Write what is held back. When it raises, nothing may be held back any more either."""

    def close(self) -> None:
        """Flush, and let go of what the observer holds; the last call."""

    def counts(self) -> Mapping[str, int]:
        """Counts of its own, beside those of requests."""
        return EMPTY


def _wrong(step: Step, message: str) -> ContractError:
    return ContractError(f"{step.role} {step.name!r}: {message}")


def _hydrate(step: Hydrator, request: Request, candidates: Candidates) -> tuple[Candidates, Mapping[str, Any]]:
    columns = dict(step.hydrate(request, candidates))
    for name, column in columns.items():
        if np.ndim(column) == 0 or len(column) != len(candidates):
            raise _wrong(step, f"column {name!r} has shape {np.shape(column)} for {len(candidates)} candidates")
    rows = columns.pop("rows", None)
    hydrated = candidates if rows is None else candidates.with_rows(rows)
    return hydrated.with_columns(columns), EMPTY


def _filter(step: Filter, request: Request, candidates: Candidates) -> tuple[Candidates, Mapping[str, Any]]:
    keep = np.asarray(step.keep(request, candidates))
    if keep.dtype != np.bool_ or keep.shape != (len(candidates),):
        raise _wrong(step, f"keep has dtype {keep.dtype} and shape {keep.shape}, expected bool ({len(candidates)},)")
    return (candidates if keep.all() else candidates.take(keep)), EMPTY


def _score(step: Scorer, request: Request, candidates: Candidates) -> tuple[Candidates, Mapping[str, Any]]:
    scores = np.asarray(step.score(request, candidates))
    _check_scores(step, scores, len(candidates))
    return candidates.with_scores(scores), EMPTY


def _select(step: Selector, request: Request, candidates: Candidates) -> tuple[Candidates, Mapping[str, Any]]:
    selection = step.select(request, candidates)
    indices = np.asarray(selection.indices)
    n = len(candidates)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise _wrong(step, f"indices have dtype {indices.dtype} and shape {indices.shape}, expected int64 (k,)")
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        raise _wrong(step, f"an index lies outside 0 … {n - 1}")
    if np.bincount(indices, minlength=1).max(initial=0) > 1:
        raise _wrong(step, "an index stands twice")
    chosen = candidates.take(indices)
    if selection.scores is not None:
        _check_scores(step, np.asarray(selection.scores), len(indices))
        chosen = chosen.with_scores(selection.scores)
    return chosen, selection.notes


def _check_scores(step: Step, scores: Array, n: int) -> None:
    if scores.shape != (n,):
        raise _wrong(step, f"scores have shape {scores.shape}, expected ({n},)")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise _wrong(step, f"the score at position {int(bad[0])} is {scores[bad[0]]}; scores must be finite")


_RUN: Mapping[str, Callable[[Any, Request, Candidates], tuple[Candidates, Mapping[str, Any]]]] = {
    "hydrator": _hydrate,
    "filter": _filter,
    "scorer": _score,
    "selector": _select,
}

T = TypeVar("T")


def timed(step: Step, stage: str, n_in: int, run: Callable[[], T]) -> tuple[T | None, StepTrace]:
    """Run ``run`` for ``step``; its result (None if it failed and may be skipped) and its trace without sizes."""
    start = time.perf_counter()
    result: T | None = None
    failure = None
    try:
        result = run()
    except SURVIVABLE as error:
        if step.on_failure == "fail":
            raise
        failure = f"{type(error).__name__}: {error}"
    ms = (time.perf_counter() - start) * 1e3
    return result, StepTrace(stage, step.name, step.role, n_in, n_in, ms, failure=failure)


@dataclass(frozen=True)
class StageOutcome:
    """What a stage hands on, what it had scored before its first selector cut it, and the trace of its steps."""

    candidates: Candidates
    scored: Candidates
    steps: tuple[StepTrace, ...]


@dataclass(frozen=True)
class Stage:
    """A name and an ordered list of steps, each a Hydrator, Filter, Scorer or Selector."""

    name: str
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            if getattr(step, "role", None) not in _RUN:
                raise ContractError(
                    f"stage {self.name!r}: {step!r} plays no role of a stage; derive it from one of "
                    "Hydrator, Filter, Scorer, Selector"
                )

    def run(self, request: Request, candidates: Candidates) -> StageOutcome:
        scored: Candidates | None = None
        traces = []
        for step in self.steps:
            if step.role == "selector" and scored is None:
                scored = candidates
            candidates, trace = self._run_step(step, request, candidates)
            traces.append(trace)
        return StageOutcome(candidates, candidates if scored is None else scored, tuple(traces))

    def _run_step(self, step: Step, request: Request, candidates: Candidates) -> tuple[Candidates, StepTrace]:
        before = candidates
        result, trace = timed(step, self.name, len(before), lambda: _RUN[step.role](step, request, before))
        after, notes = (before, EMPTY) if result is None else result
        return after, StepTrace(
            stage=trace.stage,
            step=trace.step,
            role=trace.role,
            n_in=len(before),
            n_out=len(after),
            ms=trace.ms,
            n_unknown=after.n_unknown,
            why=getattr(step, "why", ""),
            failure=trace.failure,
            notes=notes,
        )
