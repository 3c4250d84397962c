"""The only orchestration: ``Cascade.run`` is the request path, and reads as its picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import numpy.ma  # noqa: F401  # np.unique asks for it: else the first request loads it, half as long as it takes itself

from karec.errors import ContractError
from karec.pipeline._budget import Budget, Clock, Unit
from karec.pipeline._slots import shared_slots
from karec.pipeline._substitute import check_substitute
from karec.pipeline._units import OUTSIDE, units_of
from karec.pipeline._usual import UsualTimes
from karec.pipeline.checks import hydrate_request, merge, recall
from karec.pipeline.deadline import Call, Deadline, DeadlineCounts
from karec.pipeline.side_effects import SideEffectCounts, SideEffectQueue
from karec.pipeline.step import Merger, QueryHydrator, Source, Stage, Step, left_out, standing_in, timed
from karec.pipeline.trace import NoTime, StepTrace, Trace, degraded, why_short
from karec.pipeline.types import EMPTY, Candidates, IdNames, Page, Request

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.bundle.item_types import ItemTypeBundle
    from karec.exposure.controller import ExposureController
    from karec.index import ItemIndex
    from karec.online.follow import Follower

MAX_CHANNELS = 32


@dataclass(frozen=True)
class Recall:
    """Sources asked, then merged. Source c owns bit c of ``Candidates.sources``.

    Sources without ``timeout_ms`` are asked one by one on the request's thread; those with one run beside
    them, and one that is late or busy fails as if it had raised ``Unavailable``. Where there is no time for a
    source its substitute runs on the request's thread, and brings works in its name.
    """

    sources: tuple[Source, ...]
    merger: Merger
    deadlines: tuple[Deadline | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.sources) > MAX_CHANNELS:
            raise ContractError(f"{len(self.sources)} recall channels; sources has {MAX_CHANNELS} bits")
        for step in self.steps:
            check_substitute(step)
        each = (None if s.timeout_ms is None else Deadline(s.name, s.timeout_ms) for s in self.sources)
        object.__setattr__(self, "deadlines", tuple(each))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its sources, then its merger."""
        return (*self.sources, self.merger)

    def run(self, request: Request, budget: Budget | None = None) -> tuple[Candidates, tuple[StepTrace, ...]]:
        """``budget``: the time that is left, where the first source is the next unit; None: as long as it
        takes."""
        budget = Budget() if budget is None else budget
        begun = self._begun(request, budget)
        parts, traces = [], []
        try:
            for at, source in enumerate(self.sources):
                call = begun.get(at)
                no_time = call if isinstance(call, NoTime) else budget.short() if call is None else None
                part, trace = _found(
                    source, call if isinstance(call, Call) else None, no_time, request, budget.clock
                )
                parts.append(part)
                traces.append(trace)
                budget.done()
        finally:
            for call in begun.values():
                if isinstance(call, Call):
                    call.let_go()
        done = timed(self.merger, lambda: merge(self.merger, request, parts), budget.clock)
        budget.done()
        merged = done.result
        if merged is None:
            raise ContractError("the merger of recall channels cannot be skipped")
        why = "found twice, consumed, or over quota"
        if request.online is not None:
            why = "found twice, consumed, shown before, taken down, or over quota"
        sizes = sum(map(len, parts)), len(merged)
        trace = done.trace(self.merger, "recall", sizes, merged.n_unknown, why, self.merger.limit)
        return merged, (*traces, trace)

    def _begun(self, request: Request, budget: Budget) -> dict[int, Call[Found] | NoTime]:
        """{place: the call of each source that has time of its own, or why there is none for it}. A source
        that may be skipped has no more than what the request can spare."""
        begun: dict[int, Call[Found] | NoTime] = {}
        for at, (source, deadline) in enumerate(zip(self.sources, self.deadlines, strict=True)):
            if deadline is not None:
                spare_ms = budget.spare_ms(len(self.sources)) if source.on_failure == "skip" else None
                asking = partial(recall, source, request)
                begun[at] = budget.short(at) or deadline.begin(asking, spare_ms)
        return begun

    def counts(self) -> dict[str, DeadlineCounts]:
        """Of each source with a deadline: how often it was asked, late, busy."""
        return {deadline.name: deadline.counts() for deadline in self.deadlines if deadline is not None}


@dataclass(frozen=True)
class Cascade:
    """The request path of one scene. Immutable: any number of threads may ``run`` it at once, if its steps
    allow it.

    ``index`` is what steps read: each request pins one generation of it for all of them. None: no step reads
    an index. ``recall_index`` is the same for recall's own vector space; None: there is none.
    ``versions`` goes into every answer, beside the generation and the model versions that the request read.
    ``online`` knows what happened since the bundle was made: each request reads it once, for all steps.
    One that cannot be read leaves the request with the bundle's, and ``degraded`` names it. None: nobody
    keeps it. ``naming`` knows the platform's ids; None: ids are integers that steps use as they are.
    ``threads``: how many requests run at once, of all cascades of the process that say the same; the others
    wait, first come, first served. None: as many as the cores that the process may use.
    ``karec.pipeline._slots`` states the rules. ``clock``: seconds; what steps take, and
    whether a deadline is near, is read off it.
    ``usual``: what each step has usually taken, of requests with and without a deadline.
    ``exposure``: the exposure controller of the scene; each request reads one version of its dual variables.
    ``bundle``: the bundle, or its part for one item type, that the steps were built from. The cascade does
    not read it; None if built by hand.
    """

    scene: str
    query_hydrators: tuple[QueryHydrator, ...]
    recall: Recall
    stages: tuple[Stage, ...]
    side_effects: tuple[SideEffectQueue, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)
    index: ItemIndex | None = None
    threads: int | None = None
    naming: IdNames | None = None
    recall_index: ItemIndex | None = field(default=None, kw_only=True)
    online: Follower | None = field(default=None, repr=False, kw_only=True)
    bundle: Bundle | ItemTypeBundle | None = field(default=None, repr=False, kw_only=True)
    exposure: ExposureController | None = field(default=None, repr=False, kw_only=True)
    clock: Clock = field(default=time.perf_counter, repr=False, kw_only=True)
    usual: UsualTimes = field(init=False, repr=False, compare=False)
    units: tuple[Unit, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "usual", UsualTimes())
        units = units_of(
            self.usual, self.online is not None, self.query_hydrators, self.recall.steps, self.stages
        )
        object.__setattr__(self, "units", units)
        shared_slots(self.threads)  # refuses a number below 1
        for observer in self.side_effects:
            if not isinstance(observer, SideEffectQueue):
                raise ContractError(
                    f"side_effects: {observer!r} has no queue, give SideEffectQueue(observer)"
                )
        steps = [step for stage in self.stages for step in stage.steps]
        watching = [queue.side_effect for queue in self.side_effects]
        for hydrator in self.query_hydrators:
            check_substitute(hydrator)
        for step in (*self.query_hydrators, *self.recall.steps, *steps, *watching):
            for key, name in (("schema", "index"), ("recall_schema", "recall_index")):
                schema = getattr(step, key, None)
                if schema is not None and schema is not getattr(getattr(self, name), "schema", None):
                    raise ContractError(
                        f"the {step.role} {step.name!r} was built on another item index than the cascade's: "
                        f"give Cascade(…, {name}=…) the index that its steps were built on"
                    )

    def run(self, request: Request) -> Page:
        """Recall → stages → a feed of at most ``request.k`` works, with the trace of every step.

        The request sees one generation of the index, however often others write meanwhile. The pin goes with
        the last reference to the view: when this returns, or when an observer that reads the index is done
        with the request. Steps and observers see ids as numbers, the caller as they came.
        """
        ends = None if request.deadline_ms is None else self.clock() + request.deadline_ms / 1e3
        if self.naming is not None:
            asked, request = request, self.naming.numbered(request)
            return self.naming.named(self._run(request, ends), asked)
        for given in (request.user_id, *request.shown):
            if isinstance(given, str):
                raise ValueError(
                    f"this cascade knows users and works by integers, the request names {given!r}"
                )
        return self._run(request, ends)

    def _run(self, request: Request, ends: float | None) -> Page:
        with shared_slots(self.threads).taken():
            start = self.clock()
            budget = Budget(self.clock, ends, self.units)
            views = [None if index is None else index.pinned() for index in (self.index, self.recall_index)]
            try:
                request = request.with_view(*views)
                if self.exposure is not None:
                    request = request.with_dual_variables(self.exposure.newest)
                request, answer = self._feed(request, budget)
            except BaseException:
                for view in views:
                    if view is not None:
                        view.close()  # whoever keeps the traceback would keep the generation
                raise
            self._know(answer.trace, budget, (self.clock() - start) * 1e3)
        for observer in self.side_effects:
            observer.offer(request, answer)
        return answer

    def close(self) -> tuple[SideEffectCounts, ...]:
        """Wait until the observers have seen every answer and written what they hold back; what each did and
        lost.

        Raises nothing. Answers that are given afterwards are not observed.
        """
        return tuple(observer.close() for observer in self.side_effects)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usual_ms(self) -> Mapping[str, Mapping[str, float]]:
        """{place: {"p50": ms, "p90": ms, "p99": ms}}: what each step usually takes, ``stage.step``; what
        stands in for it, ``stage.step (substitute)``, or for a stage, ``stage (step)``; and ``outside``, what
        is beside all steps.
        """
        return self.usual.quantiles()

    @property
    def least_ms(self) -> float:
        """What a request usually takes when all gives way that may: with less than that left it is late."""
        return sum(unit.least_ms for unit in self.units)

    def hydrated(self, request: Request, budget: Budget | None = None) -> tuple[Request, list[StepTrace]]:
        """The request with what its hydrators add, and their traces; it needs a moment, and a view where they
        read one.

        It is the first part of ``run``, for callers that score works of their own as the cascade would.
        """
        budget = Budget(self.clock) if budget is None else budget
        traces = []
        for step in self.query_hydrators:
            no_time = budget.short()
            runs = step if no_time is None else standing_in(step)
            assert isinstance(runs, QueryHydrator)
            budget.done()
            if no_time is not None and runs is step:
                traces.append(left_out(step, "request", -1, no_time))
                continue
            done = timed(runs, partial(hydrate_request, runs, request), budget.clock)
            request = request if done.result is None else request.with_features(done.result)
            traces.append(done.trace(runs, "request", (0, -1), no_time=no_time))
        return request, traces

    def _feed(self, request: Request, budget: Budget) -> tuple[Request, Page]:
        """The request as its steps saw it, and the answer, which has no view."""
        if request.scene != self.scene:
            raise ValueError(
                f"this cascade serves the scene {self.scene!r}, the request asks for {request.scene!r}"
            )
        if not request.request_id or request.time_ms is None:
            now_ms = int(time.time() * 1e3) if request.time_ms is None else request.time_ms
            request = request.named(request.request_id or uuid4().hex, now_ms)
        request, state_traces = self._with_state(request, budget)
        request, request_traces = self.hydrated(request, budget)
        request_traces = [*state_traces, *request_traces]
        candidates, traces = self.recall.run(request, budget)
        channels = tuple(trace.step for trace in traces[:-1])
        scored: dict[str, Candidates] = {}
        for stage in self.stages:
            outcome = stage.run(request, candidates, budget)
            candidates = outcome.candidates
            scored[stage.name] = outcome.scored
            traces += outcome.steps
        if len(candidates) > request.k:
            raise ContractError(
                f"the last stage left {len(candidates)} works for k={request.k}: end it with a selector "
                f"without k"
            )
        cold = request.features.get("cold_start")
        return request, Page(
            request=request.with_view(None).with_online(None).with_dual_variables(None),
            candidates=candidates,
            scored=scored,
            trace=Trace((*request_traces, *traces)),
            channels=channels,
            degraded=degraded((*request_traces, *traces)),
            cold_start=cold is not None and bool(cold),
            versions=self._read(request),
            short=why_short(request.k, traces),
        )

    def _know(self, trace: Trace, budget: Budget, ms: float) -> None:
        """What this request took at each place, of ``ms`` in all."""
        times: list[tuple[str, float | None]] = [(step.timed_as, step.ms) for step in trace.steps]
        times += [(place, None) for place in budget.passed]
        self.usual.add([*times, (OUTSIDE, max(ms - trace.total_ms, 0.0))])

    def _with_state(self, request: Request, budget: Budget) -> tuple[Request, list[StepTrace]]:
        """The request with what happened since the bundle was made, and how that was read."""
        if self.online is None:
            return request, []
        start = self.clock()
        live, failure = self.online.view(request.user_number)
        ms = (self.clock() - start) * 1e3
        budget.done()
        return request.with_online(live), [StepTrace("request", "state", "state", 0, -1, ms, failure=failure)]

    def _read(self, request: Request) -> Mapping[str, Any]:
        """What the request reads, by its views."""
        read: dict[str, Any] = {}
        if request.view is not None:
            read |= {
                "index_generation": request.view.generation,
                "model_versions": request.view.model_versions,
            }
        if request.recall_view is not None:
            recall = request.recall_view
            read |= {"recall_generation": recall.generation, "recall_model_versions": recall.model_versions}
        if request.online is not None:
            read["live_batch"] = request.online.items.n_batches
        return MappingProxyType({**self.versions, **read}) if read else self.versions or EMPTY


Found = tuple[Candidates, Mapping[str, Any]]


def _found(
    source: Source, call: Call[Found] | None, no_time: NoTime | None, request: Request, clock: Clock
) -> tuple[Candidates, StepTrace]:
    """What ``source`` brings, asked now or by ``call`` before, or its substitute where there is ``no_time``
    for it."""
    if no_time is not None and standing_in(source) is source:
        return Candidates.empty(), left_out(source, "recall", 0, no_time)._replace(reason=source.reason)
    runs = source if no_time is None else standing_in(source)
    assert isinstance(runs, Source)
    done = timed(runs, call or (lambda: recall(runs, request)), clock)
    part = Candidates.empty() if done.result is None else done.result
    return part, done.trace(runs, "recall", (0, len(part)), reason=runs.reason, no_time=no_time)
