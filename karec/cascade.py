"""The only orchestration: ``Cascade.run`` is the request path, and reads as its picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import uuid4

import numpy as np

from karec.errors import ContractError
from karec.observer_queue import ObserverCounts, ObserverQueue
from karec.stage import Merger, RequestHydrator, Source, Stage, timed
from karec.types import EMPTY, Candidates, Recommendation, Request, StepTrace, Trace

MAX_CHANNELS = 32


@dataclass(frozen=True)
class Recall:
    """Sources asked one by one, then merged. Source c owns bit c of ``Candidates.sources``."""

    sources: tuple[Source, ...]
    merger: Merger

    def __post_init__(self) -> None:
        if len(self.sources) > MAX_CHANNELS:
            raise ContractError(f"{len(self.sources)} recall channels; sources has {MAX_CHANNELS} bits")

    def run(self, request: Request) -> tuple[Candidates, tuple[StepTrace, ...]]:
        parts, traces = [], []
        for source in self.sources:
            found, trace = timed(source, "recall", 0, lambda source=source: source.recall(request))  # type: ignore[misc]
            part = Candidates.empty() if found is None else found
            parts.append(part)
            traces.append(replace(trace, n_out=len(part)))
        n_found = sum(map(len, parts))
        merged, trace = timed(self.merger, "recall", n_found, lambda: self.merger.merge(request, parts))
        if merged is None:
            raise ContractError("the merger of recall channels cannot be skipped")
        ordered = np.sort(merged.ids)
        if (ordered[1:] == ordered[:-1]).any():
            raise ContractError(f"merger {self.merger.name!r}: an id stands twice after merging")
        traces.append(replace(trace, n_out=len(merged), n_unknown=merged.n_unknown, why="found twice, or over quota"))
        return merged, tuple(traces)


@dataclass(frozen=True)
class Cascade:
    """The request path of one scene. Immutable: any number of threads may ``run`` it at once, if its steps allow it."""

    scene: str
    request_hydrators: tuple[RequestHydrator, ...]
    recall: Recall
    stages: tuple[Stage, ...]
    observers: tuple[ObserverQueue, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for observer in self.observers:
            if not isinstance(observer, ObserverQueue):
                raise ContractError(f"observers: {observer!r} has no queue, give ObserverQueue(observer)")

    def run(self, request: Request) -> Recommendation:
        """Recall → stages → a feed of at most ``request.k`` works, with the trace of every step."""
        request, request_traces = self._prepare(request)
        candidates, recall_traces = self.recall.run(request)
        traces = [*request_traces, *recall_traces]
        scored: dict[str, Candidates] = {}
        for stage in self.stages:
            outcome = stage.run(request, candidates)
            candidates = outcome.candidates
            scored[stage.name] = outcome.scored
            traces.extend(outcome.steps)
        if len(candidates) > request.k:
            raise ContractError(
                f"the last stage left {len(candidates)} works for k={request.k}: end it with a selector without k"
            )
        return self._answer(request, candidates, scored, tuple(traces))

    def close(self) -> tuple[ObserverCounts, ...]:
        """Wait until the observers have seen every answer and written what they hold back; what each did and lost.

        Raises nothing. Answers that are given afterwards are not observed.
        """
        return tuple(observer.close() for observer in self.observers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, request: Request) -> tuple[Request, list[StepTrace]]:
        if request.scene != self.scene:
            raise ValueError(f"this cascade serves the scene {self.scene!r}, the request asks for {request.scene!r}")
        request = replace(
            request,
            request_id=request.request_id or uuid4().hex,
            time_ms=int(time.time() * 1e3) if request.time_ms is None else request.time_ms,
        )
        traces = []
        for step in self.request_hydrators:
            features, trace = timed(step, "request", 0, lambda step=step, r=request: step.hydrate_request(r))  # type: ignore[misc]
            request = request if features is None else request.with_features(features)
            traces.append(replace(trace, n_out=-1))
        return request, traces

    def _answer(
        self,
        request: Request,
        candidates: Candidates,
        scored: Mapping[str, Candidates],
        traces: tuple[StepTrace, ...],
    ) -> Recommendation:
        cold = request.features.get("cold_start")
        recommendation = Recommendation(
            request=request,
            candidates=candidates,
            scored=scored,
            trace=Trace(traces),
            channels=tuple(source.name for source in self.recall.sources),
            degraded=tuple(f"{trace.stage}.{trace.step}" for trace in traces if trace.failure),
            cold_start=cold is not None and bool(cold),
            versions=self.versions or EMPTY,
        )
        for observer in self.observers:
            observer.offer(request, recommendation)
        return recommendation
