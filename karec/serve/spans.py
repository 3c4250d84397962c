"""Exports OpenTelemetry spans of some pages, from the step times of the trace, after the response is sent.

A fraction of pages has spans. Slow and degraded pages also have spans, at most ten of these a second. The
trace id of the caller selects the fraction, so all services keep the same traces; its flag does not raise the
fraction. The spans of steps follow each other and end with the page: they show durations, not starts, since
sources with a deadline run in parallel.
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

MAX_NOTABLE_PER_SECOND = 10
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)


class Spans:
    """Exports spans. The event loop's thread calls all methods.

    Create it in the process of the worker. `processor` replaces the one that sends to `settings.spans`.
    Raises MissingExtra if OpenTelemetry is not installed.
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
            raise MissingExtra("opentelemetry-sdk", "otel", "exporting spans") from error
        self._fraction = settings.spans_share
        self._slow_ms = settings.spans_slow_ms
        self._provider = TracerProvider(resource=Resource({"service.name": "karec"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("karec")
        self._second = 0
        self._n_notable = 0  # in this second

    def record(self, page: Page, ms: float, traceparent: str | None = None) -> bool:
        """Exports the spans of a page that ends now. Returns False if the page has no spans.

        `traceparent`: the header of W3C Trace Context; an invalid one is ignored.
        """
        parent = parse_traceparent(traceparent)
        lower_bits = randbits(64) if parent is None else parent[0] & (2**64 - 1)
        is_sampled = lower_bits < self._fraction * 2**64
        if not is_sampled and not self._is_notable(page, ms):
            return False
        self._export(page, ms, parent)
        return True

    def close(self) -> None:
        """Sends the pending spans."""
        self._provider.shutdown()

    def _is_notable(self, page: Page, ms: float) -> bool:
        if ms < self._slow_ms and not page.degraded:
            return False
        second = int(time.monotonic())
        self._n_notable = self._n_notable + 1 if second == self._second else 1
        self._second = second
        return self._n_notable <= MAX_NOTABLE_PER_SECOND

    def _export(self, page: Page, ms: float, parent: tuple[int, int] | None) -> None:
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        end = time.time_ns()
        start = end - int(ms * 1e6)
        context = None
        if parent is not None:
            remote = SpanContext(*parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(remote))
        attributes: dict[str, Any] = {
            "karec.scene": page.request.scene,
            "karec.items": len(page.candidates),
            "karec.request_id": page.request.request_id,
            "karec.degraded": list(page.degraded),
        }
        root = self._tracer.start_span("karec.recommend", context, attributes=attributes, start_time=start)
        children = set_span_in_context(root)
        moment = max(end - int(page.trace.total_ms * 1e6), start)
        for step in page.trace.steps:
            span = self._tracer.start_span(
                step.place, children, attributes=_attributes(step), start_time=moment
            )
            moment = min(moment + int(step.ms * 1e6), end)
            span.end(moment)
        root.end(end)


def parse_traceparent(header: str | None) -> tuple[int, int] | None:
    """Returns (trace id, span id) of the caller; None if the header is missing or invalid."""
    match = TRACEPARENT.fullmatch(header or "")
    return None if match is None else (int(match[1], 16), int(match[2], 16))


def _attributes(step: StepTrace) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "karec.role": step.role,
        "karec.input_items": step.n_in,
        "karec.output_items": step.n_out,
    }
    if step.fallback is not None:
        attributes["karec.fallback_reason"] = str(step.fallback)
    if step.failure is not None:
        attributes["karec.failure"] = step.failure
    return attributes
