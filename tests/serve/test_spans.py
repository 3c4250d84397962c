"""Spans are exported for a fraction of pages, and for slow and degraded pages."""

import sys
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from karec.config.serve_settings import ServeSettings
from karec.errors import ConfigError, MissingExtra
from karec.pipeline.trace import FallbackReason, StepTrace, Trace
from karec.pipeline.types import Candidates, Page, Request
from karec.serve.spans import MAX_NOTABLE_PER_SECOND, Spans, parse_traceparent

URL = "http://localhost:4318/v1/traces"
STEPS = (StepTrace("recall", "merge", "merger", 9, 6, 2.0), StepTrace("rank", "top_k", "selector", 6, 3, 4.0))
ANSWER = Page(Request(1, request_id="r1"), Candidates.empty(), Trace(STEPS))
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans_and_exporter():
    exporter = InMemorySpanExporter()

    def spans(**options):
        return Spans(ServeSettings(spans=URL, **options), SimpleSpanProcessor(exporter))

    return spans, exporter


def test_slow_page_has_a_span_with_its_steps_in_order(spans_and_exporter):
    spans, exporter = spans_and_exporter
    assert spans(spans_share=0.0, spans_slow_ms=10.0).record(ANSWER, 10.0, PARENT)
    *steps, root = exporter.get_finished_spans()
    assert [span.name for span in steps] == ["recall.merge", "rank.top_k"] and root.name == "karec.recommend"
    assert (
        f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
        and f"{root.parent.span_id:016x}" == PARENT.split("-")[2]
    )
    assert all(span.parent.span_id == root.context.span_id for span in steps)
    assert [span.end_time - span.start_time for span in (*steps, root)] == [2_000_000, 4_000_000, 10_000_000]
    assert steps[0].end_time == steps[1].start_time and steps[1].end_time == root.end_time
    assert steps[1].attributes["karec.output_items"] == 3 and root.attributes["karec.request_id"] == "r1"


def test_span_has_the_reason_of_a_fallback(spans_and_exporter):
    spans, exporter = spans_and_exporter
    steps = STEPS[0], STEPS[1]._replace(fallback=FallbackReason("rank", 3.14, 9.0))
    hurried = replace(ANSWER, trace=Trace(steps), degraded=("rank: fallback",))
    assert spans(spans_share=0.0).record(hurried, 6.0)
    merge, top_k, root = exporter.get_finished_spans()
    assert top_k.attributes["karec.fallback_reason"] == "3.1 ms left, p90 of this and the later stages 9.0 ms"
    assert "karec.fallback_reason" not in merge.attributes and root.attributes["karec.degraded"] == (
        "rank: fallback",
    )


def test_spans_of_other_pages_are_at_most_one_in_a_hundred(spans_and_exporter):
    spans, exporter = spans_and_exporter
    exported = spans()
    ids = (f"{n:016x}{n * 2**64 // 10_000:016x}" for n in range(1, 10_000))  # spread evenly; 0 is invalid
    assert sum(exported.record(ANSWER, 1.0, f"00-{trace}-{1:016x}-01") for trace in ids) == 100
    assert len(exporter.get_finished_spans()) == 300
    assert not any(spans(spans_share=0.0).record(ANSWER, 1.0) for _ in range(100))


def test_spans_of_degraded_pages_are_limited_per_second(spans_and_exporter):
    spans, _ = spans_and_exporter
    degraded = replace(ANSWER, degraded=("rank.top_k",))
    exported = spans(spans_share=0.0)
    assert exported.record(degraded, 1.0)
    n = sum(exported.record(degraded, 1.0) for _ in range(2_000))
    assert n < 500 and MAX_NOTABLE_PER_SECOND == 10


@pytest.mark.parametrize(
    "given", [None, "", "00-x", PARENT.upper(), "ff" + PARENT[2:], f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_invalid_traceparent_is_ignored(given):
    assert parse_traceparent(given) is None and parse_traceparent(PARENT) is not None


@pytest.mark.parametrize(
    "wrong", [{"spans": "localhost"}, {"spans_share": 0.5}, {"spans_slow_ms": float("nan")}]
)
def test_invalid_span_settings_are_refused_by_name(wrong):
    with pytest.raises((ConfigError, ValueError), match=next(iter(wrong))):
        ServeSettings(**wrong)


def test_missing_opentelemetry_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match=r"karec\[otel\]"):
        Spans(ServeSettings(spans=URL))
