"""The only orchestration: ``Cascade.run`` is the request path, and reads as its picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self
from uuid import uuid4

from karec._deadline import Call, Deadline, DeadlineCounts
from karec._slots import shared_slots
from karec._view import Living, Pinnable
from karec.errors import ContractError
from karec.observer_queue import ObserverCounts, ObserverQueue
from karec.stage import Merger, RequestHydrator, Source, Stage, hydrate_request, merge, recall, timed
from karec.trace import StepTrace, Trace, why_short
from karec.types import EMPTY, Candidates, Naming, Recommendation, Request

MAX_CHANNELS = 32


@dataclass(frozen=True)
class Recall:
    """Sources asked, then merged. Source c owns bit c of ``Candidates.sources``.

    Sources without ``timeout_ms`` are asked one by one on the request's thread; those with one run beside them, and one
    that is late or busy fails as if it had raised ``Unavailable``.
    """

    sources: tuple[Source, ...]
    merger: Merger
    deadlines: tuple[Deadline | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.sources) > MAX_CHANNELS:
            raise ContractError(f"{len(self.sources)} recall channels; sources has {MAX_CHANNELS} bits")
        each = (None if s.timeout_ms is None else Deadline(s.name, s.timeout_ms) for s in self.sources)
        object.__setattr__(self, "deadlines", tuple(each))

    def run(self, request: Request) -> tuple[Candidates, tuple[StepTrace, ...]]:
        asked = [_asked(*each, request) for each in zip(self.sources, self.deadlines, strict=True)]
        parts, traces = [], []
        try:
            for source, answer in zip(self.sources, asked, strict=True):
                found, trace = timed(source, "recall", 0, answer)
                part = Candidates.empty() if found is None else found
                parts.append(part)
                traces.append(replace(trace, n_out=len(part), why=source.why))
        finally:
            for answer in asked:
                if isinstance(answer, Call):
                    answer.let_go()
        n_found = sum(map(len, parts))
        merged, trace = timed(self.merger, "recall", n_found, lambda: merge(self.merger, request, parts))
        if merged is None:
            raise ContractError("the merger of recall channels cannot be skipped")
        why = "found twice, consumed, or over quota"
        if request.live is not None:
            why = "found twice, consumed, shown before, taken down, or over quota"
        trace = replace(trace, n_out=len(merged), n_unknown=merged.n_unknown, why=why, limit=self.merger.limit)
        return merged, (*traces, trace)

    def counts(self) -> dict[str, DeadlineCounts]:
        """Of each source with a deadline: how often it was asked, late, busy."""
        return {deadline.name: deadline.counts() for deadline in self.deadlines if deadline is not None}


@dataclass(frozen=True)
class Cascade:
    """The request path of one scene. Immutable: any number of threads may ``run`` it at once, if its steps allow it.

    ``index`` is what steps read: each request pins one generation of it for all of them. None: no step reads an index.
    ``recall_index`` is the same for recall's own vector space; None: there is none.
    ``versions`` goes into every answer, beside the generation and the model versions that the request read.
    ``live`` knows what happened since the bundle was made: each request reads it once, for all of its steps. One that
    cannot be read leaves the request with the bundle's, and ``degraded`` names it. None: nobody keeps it.
    ``naming`` knows the platform's ids; None: ids are integers that steps use as they are.
    ``threads``: how many requests run at once, of all cascades of the process that say the same; the others wait, first
    come, first served. None: as many as the cores that the process may use. ``karec._slots`` states the rules.
    """

    scene: str
    request_hydrators: tuple[RequestHydrator, ...]
    recall: Recall
    stages: tuple[Stage, ...]
    observers: tuple[ObserverQueue, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)
    index: Pinnable | None = None
    threads: int | None = None
    naming: Naming | None = None
    recall_index: Pinnable | None = field(default=None, kw_only=True)
    live: Living | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        shared_slots(self.threads)  # refuses a number below 1
        for observer in self.observers:
            if not isinstance(observer, ObserverQueue):
                raise ContractError(f"observers: {observer!r} has no queue, give ObserverQueue(observer)")
        steps = [step for stage in self.stages for step in stage.steps]
        watching = [queue.observer for queue in self.observers]
        for step in (*self.request_hydrators, *self.recall.sources, self.recall.merger, *steps, *watching):
            for name in ("index", "recall_index"):
                built_on = getattr(step, name, None)
                if built_on is not None and built_on is not getattr(self, name):
                    raise ContractError(
                        f"the {step.role} {step.name!r} was built on another item index than the cascade's: "
                        f"give Cascade(…, {name}=…) the index that its steps were built on"
                    )

    def run(self, request: Request) -> Recommendation:
        """Recall → stages → a feed of at most ``request.k`` works, with the trace of every step.

        The request sees one generation of the index, however often others write meanwhile. The pin goes with the last
        reference to the view: when this returns, or when an observer that reads the index is done with the request.
        Steps and observers see ids as numbers, the caller as they came.
        """
        if self.naming is not None:
            asked, request = request, self.naming.numbered(request)
            return self.naming.named(self._run(request), asked)
        for given in (request.user_id, *request.shown):
            if isinstance(given, str):
                raise ValueError(f"this cascade knows users and works by integers, the request names {given!r}")
        return self._run(request)

    def _run(self, request: Request) -> Recommendation:
        with shared_slots(self.threads).taken():
            views = [None if index is None else index.pinned() for index in (self.index, self.recall_index)]
            try:
                request, answer = self._feed(request.with_view(*views))
            except BaseException:
                for view in views:
                    if view is not None:
                        view.close()  # whoever keeps the traceback would keep the generation
                raise
        for observer in self.observers:
            observer.offer(request, answer)
        return answer

    def close(self) -> tuple[ObserverCounts, ...]:
        """Wait until the observers have seen every answer and written what they hold back; what each did and lost.

        Raises nothing. Answers that are given afterwards are not observed.
        """
        return tuple(observer.close() for observer in self.observers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hydrated(self, request: Request) -> tuple[Request, list[StepTrace]]:
        """The request with what its hydrators add, and their traces; it needs a moment, and a view where they read one.

        It is the first part of ``run``, for callers that score works of their own as the cascade would.
        """
        traces = []
        for step in self.request_hydrators:
            features, trace = timed(step, "request", 0, lambda step=step, r=request: hydrate_request(step, r))  # type: ignore[misc]
            request = request if features is None else request.with_features(features)
            traces.append(replace(trace, n_out=-1))
        return request, traces

    def _feed(self, request: Request) -> tuple[Request, Recommendation]:
        """The request as its steps saw it, and the answer, which has no view."""
        if request.scene != self.scene:
            raise ValueError(f"this cascade serves the scene {self.scene!r}, the request asks for {request.scene!r}")
        request = replace(
            request,
            request_id=request.request_id or uuid4().hex,
            time_ms=int(time.time() * 1e3) if request.time_ms is None else request.time_ms,
        )
        request, state_traces = self._with_state(request)
        request, request_traces = self.hydrated(request)
        request_traces = [*state_traces, *request_traces]
        candidates, traces = self.recall.run(request)
        scored: dict[str, Candidates] = {}
        for stage in self.stages:
            outcome = stage.run(request, candidates)
            candidates = outcome.candidates
            scored[stage.name] = outcome.scored
            traces += outcome.steps
        if len(candidates) > request.k:
            raise ContractError(
                f"the last stage left {len(candidates)} works for k={request.k}: end it with a selector without k"
            )
        cold = request.features.get("cold_start")
        return request, Recommendation(
            request=replace(request.with_view(None), live=None),
            candidates=candidates,
            scored=scored,
            trace=Trace((*request_traces, *traces)),
            channels=tuple(source.name for source in self.recall.sources),
            degraded=tuple(trace.place for trace in (*request_traces, *traces) if trace.failure),
            cold_start=cold is not None and bool(cold),
            versions=self._read(request),
            short=why_short(request.k, traces),
        )

    def _with_state(self, request: Request) -> tuple[Request, list[StepTrace]]:
        """The request with what happened since the bundle was made, and how that was read."""
        if self.live is None:
            return request, []
        start = time.perf_counter()
        live, failure = self.live.view(request.user_number)
        ms = (time.perf_counter() - start) * 1e3
        return replace(request, live=live), [StepTrace("request", "state", "state", 0, -1, ms, failure=failure)]

    def _read(self, request: Request) -> Mapping[str, Any]:
        """What the request reads, by its views."""
        read: dict[str, Any] = {}
        if request.view is not None:
            read |= {"index_generation": request.view.generation, "model_versions": request.view.model_versions}
        if request.recall_view is not None:
            recall = request.recall_view
            read |= {"recall_generation": recall.generation, "recall_model_versions": recall.model_versions}
        if request.live is not None:
            read["live_batch"] = request.live.works.batches
        return MappingProxyType({**self.versions, **read}) if read else self.versions or EMPTY


Found = tuple[Candidates, Mapping[str, Any]]


def _asked(source: Source, deadline: Deadline | None, request: Request) -> Callable[[], Found]:
    """What gives the answer of ``source``: it is asked then, or, with a deadline, on a worker from now on."""
    if deadline is None:
        return lambda: recall(source, request)
    return deadline.begin(lambda: recall(source, request))
