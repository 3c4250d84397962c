"""Recall: runs the sources and merges their candidates, or takes all items that satisfy a condition."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from karec.errors import ContractError
from karec.pipeline.checks import merge, only_allowed, recall, run_step
from karec.pipeline.deadline import RECALL, Clock, TimedCall, TimedCalls, TimeoutCounts
from karec.pipeline.step import Merger, Source, Step
from karec.pipeline.trace import StepTrace
from karec.pipeline.types import WHERE, Array, Candidates, Request

MAX_SOURCES = 32  # Candidates.sources has a bit for each


@dataclass(frozen=True)
class Recall:
    """Runs all sources, then the merger. Source i has bit i of ``Candidates.sources``.

    Sources without ``timeout_ms`` run one by one on the thread of the request, the others in parallel. A
    source that is late or busy fails with ``Unavailable``.

    If the request restricts items and a source ``has_all``, all allowed items are the candidates, merged by
    ``whole``. If they exceed the limit of ``whole``, or no source ``has_all``, the sources run. They pass
    over items that are not allowed; those of a source that does not are dropped.
    """

    sources: tuple[Source, ...]
    merger: Merger
    whole: Merger | None = None
    timed_calls: tuple[TimedCalls | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.sources) > MAX_SOURCES:
            raise ContractError(f"{len(self.sources)} sources, expected at most {MAX_SOURCES}")
        timed_calls = (
            None if s.timeout_ms is None else TimedCalls(s.name, s.timeout_ms) for s in self.sources
        )
        object.__setattr__(self, "timed_calls", tuple(timed_calls))

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.sources, self.merger)

    def run(
        self, request: Request, clock: Clock = time.perf_counter
    ) -> tuple[Candidates, tuple[StepTrace, ...]]:
        """Returns the merged candidates and the trace of each source and of the merger."""
        allowed, whole = request.allowed, self.whole
        if allowed is not None and whole is not None:
            rows = np.flatnonzero(allowed.rows)
            has_all = any(vars(type(source)).get("has_all") for source in self.sources)  # not inherited
            if has_all and (whole.limit is None or len(rows) <= whole.limit):
                return self._take_all(request, rows, whole, clock)
        calls: dict[int, TimedCall[Any]] = {}
        for i, (source, timed_calls) in enumerate(zip(self.sources, self.timed_calls, strict=True)):
            if timed_calls is not None:
                calls[i] = timed_calls.start(partial(recall, source, request))
        parts, traces = [], []
        try:
            for i, source in enumerate(self.sources):
                call = calls[i].result if i in calls else partial(recall, source, request)
                run = run_step(source, call, clock)
                parts.append(Candidates.empty() if run.result is None else only_allowed(request, run.result))
                traces.append(run.to_trace(source, RECALL, 0, len(parts[-1]), reason=source.reason))
        finally:
            for timed_call in calls.values():
                timed_call.abandon()
        return self._merge(request, self.merger, parts, traces, clock)

    def _take_all(
        self, request: Request, rows: Array, merger: Merger, clock: Clock
    ) -> tuple[Candidates, tuple[StepTrace, ...]]:
        start, view = clock(), request.index
        ids = view.ids[rows]
        part = Candidates.from_ids(ids).with_rows(view.lookup(ids))
        ms = (clock() - start) * 1e3
        trace = StepTrace(RECALL, WHERE, "filter", len(view), len(ids), ms, reason="the request's condition")
        return self._merge(request, merger, [part], [trace], clock)

    def _merge(
        self,
        request: Request,
        merger: Merger,
        parts: list[Candidates],
        traces: list[StepTrace],
        clock: Clock,
    ) -> tuple[Candidates, tuple[StepTrace, ...]]:
        run = run_step(merger, lambda: merge(merger, request, parts), clock)
        merged = run.result
        if merged is None:
            raise ContractError('a merger cannot have on_failure = "skip"')
        reason = "found twice, consumed, or over quota"
        if request.online is not None:
            reason = "found twice, consumed, shown before, taken down, or over quota"
        trace = run.to_trace(
            merger,
            RECALL,
            sum(map(len, parts)),
            len(merged),
            n_unknown=merged.n_unknown,
            reason=reason,
            limit=merger.limit,
        )
        return merged, (*traces, trace)

    def causes(self, request: Request, candidates: Candidates) -> dict[int, tuple[str, int | str]]:
        """Returns {place: (template, id of an item of the user)} of the candidates that a source with ``why``
        found. The first of several such sources counts."""
        causes: dict[int, tuple[str, int | str]] = {}
        for bit, source in enumerate(self.sources):
            if not source.why:
                continue
            found = np.flatnonzero(candidates.sources >> np.uint32(bit) & np.uint32(1))
            items = source.causes(request, candidates.ids[found])
            for place, item in zip(found.tolist(), items.tolist(), strict=True):
                if item != -1:
                    causes.setdefault(place, (source.why, item))
        return causes

    def counts(self) -> dict[str, TimeoutCounts]:
        """Returns {source: how its calls ended} of the sources with a timeout."""
        return {calls.name: calls.counts() for calls in self.timed_calls if calls is not None}
