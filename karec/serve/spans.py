"""Spans of OpenTelemetry for a share of answers, the slow and the degraded, made from their step times
afterwards.

A request pays nothing for it while it runs. Steps are drawn one after the other, in their order, before the
end of the answer: the trace has their lengths and not their beginnings, and sources with a deadline ran
beside each other. The share is decided by the trace id, as other services do, so that the same traces are
kept everywhere; a caller's flag does not raise it. Of slow and degraded answers at most ten a second are
told.
"""

from __future__ import annotations

import re
import time
from secrets import randbits
from typing import Any

from karec.config.serve_settings import ServeSettings
from karec.errors import MissingExtra
from karec.pipeline.trace import StepTrace
from karec.pipeline.types import Page

NOTABLE_A_SECOND = 10
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Spans:
    """Made in the worker's own process, after any fork. ``processor``: in place of the one that sends to the
    endpoint. MissingExtra: OpenTelemetry is not installed.
    """

    def __init__(self, settings: ServeSettings, processor: Any = None) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider

            if processor is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
                from opentelemetry.sdk.trace.export import BatchSpanProcessor

                processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.spans))
        except ImportError as error:
            raise MissingExtra("opentelemetry-sdk", "otel", "telling spans") from error
        self._share, self._slow_ms = settings.spans_share, settings.spans_slow_ms
        self._ids = _ChosenIds()
        ids: Any = self._ids  # it does what an IdGenerator does
        self._provider = TracerProvider(resource=Resource({"service.name": "karec"}), id_generator=ids)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("karec")
        self._second, self._notable = 0, 0

    def answered(self, answer: Page, ms: float, traceparent: str | None = None) -> bool:
        """Tells the spans of an answer that is given now, if it is one of those; whether it is. One thread at
        a time. ``traceparent``: the header of W3C Trace Context; one that is broken is passed over.
        """
        parent = parent_of(traceparent)
        trace_id = randbits(128) | 1 if parent is None else parent[0]
        drawn = trace_id & (2**64 - 1) < self._share * 2**64
        if not drawn and not self._is_notable(answer, ms):
            return False
        self._tell(answer, ms, trace_id, parent)
        return True

    def _is_notable(self, answer: Page, ms: float) -> bool:
        if ms < self._slow_ms and not answer.degraded:
            return False
        second = int(time.monotonic())
        self._second, self._notable = second, self._notable + 1 if second == self._second else 1
        return self._notable <= NOTABLE_A_SECOND

    def _tell(self, answer: Page, ms: float, trace_id: int, parent: tuple[int, int] | None) -> None:
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        end = time.time_ns()
        start = end - int(ms * 1e6)
        context = None
        if parent is not None:
            remote = SpanContext(*parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(remote))
        self._ids.trace_id = trace_id
        told: dict[str, Any] = {"karec.scene": answer.request.scene, "karec.works": len(answer.candidates)}
        told |= {"karec.request_id": answer.request.request_id, "karec.degraded": list(answer.degraded)}
        root = self._tracer.start_span("karec.recommend", context, attributes=told, start_time=start)
        under = set_span_in_context(root)
        at = max(end - int(answer.trace.total_ms * 1e6), start)
        for step in answer.trace.steps:
            span = self._tracer.start_span(step.place, under, attributes=_attributes(step), start_time=at)
            at = min(at + int(step.ms * 1e6), end)
            span.end(at)
        root.end(end)

    def close(self) -> None:
        """Sends what is held back."""
        self._provider.shutdown()


def parent_of(traceparent: str | None) -> tuple[int, int] | None:
    """(trace id, span id) of a caller; None where there is none, or a broken one."""
    found = _PARENT.fullmatch(traceparent or "")
    if found is None or traceparent is None or traceparent.startswith("ff"):
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    return (trace_id, span_id) if trace_id and span_id else None


def _attributes(step: StepTrace) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "karec.role": step.role,
        "karec.works_in": step.n_in,
        "karec.works_out": step.n_out,
    }
    if step.fallback is not None:
        found["karec.no_time"] = str(step.fallback)
    return found if step.failure is None else {**found, "karec.failure": step.failure}


class _ChosenIds:
    """Ids of spans are drawn; that of a new trace is said before."""

    trace_id = 0

    def generate_span_id(self) -> int:
        return randbits(64) | 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        return True
