"""The trace sums sizes and times, and the shortfall names why a page has too few items."""

import json

import pytest

from karec.pipeline.trace import StepTrace, Trace, shortfall_of


def test_trace_sums_sizes_and_times_by_stage():
    trace = Trace(
        (
            StepTrace("recall", "popular", "source", 0, 50, 1.0),
            StepTrace("recall", "merge", "merger", 60, 40, 0.5),
            StepTrace("rank", "top_k", "selector", 40, 10, 2.0),
            StepTrace("request", "user_tower", "query_hydrator", 0, -1, 3.0),
        )
    )
    assert trace.stage_sizes() == {"recall": 40, "rank": 10}
    assert trace.stage_ms() == {"recall": 1.5, "rank": 2.0, "request": 3.0}
    assert [step.n_removed for step in trace.steps] == [0, 20, 30, 0]
    assert trace.total_ms == 6.5


def recalled(*result, kept, limit=None, failed=()):
    """Traces of the sources a, b, … and of their merger."""
    sources = [
        StepTrace("recall", name, "source", 0, n, 1.0, failure="down" if name in failed else None)
        for name, n in zip("abcd", result, strict=False)
    ]
    return [
        *sources,
        StepTrace("recall", "merge", "merger", sum(result), kept, 1.0, reason="found twice", limit=limit),
    ]


def filtered(name, n_in, n_out, reason=""):
    return StepTrace("prerank", name, "filter", n_in, n_out, 1.0, reason=reason)


def selected(name, n_in, n_out, limit=None):
    return StepTrace("rerank", name, "selector", n_in, n_out, 1.0, limit=limit)


@pytest.mark.parametrize(
    ("steps", "place", "reason", "text"),
    [
        (
            [*recalled(90, kept=90), selected("dpp", 90, 30, limit=30), selected("page_rules", 30, 30)],
            "rerank.dpp",
            "limit",
            "30 of 50 items: rerank.dpp keeps at most 30 (of 90)",
        ),
        (
            [*recalled(7, 0, 9, kept=12, failed="b"), selected("top_k", 12, 12)],
            "recall.merge",
            "exhausted",
            "12 of 50 items: recall returned 12 different items (a 7, b failed, c 9)",
        ),
        (
            [*recalled(70, 70, kept=40, limit=40), selected("top_k", 40, 40)],
            "recall.merge",
            "limit",
            "40 of 50 items: recall.merge keeps at most 40 (of 140)",
        ),
        (
            [*recalled(90, kept=90), filtered("tone", 90, 4, "below the floor"), selected("top_k", 4, 4)],
            "prerank.tone",
            "filtered",
            "4 of 50 items: prerank.tone dropped 86 of 90 (below the floor)",
        ),
        (
            [*recalled(90, kept=90), selected("dpp", 90, 8), selected("page_rules", 8, 8)],
            "rerank.dpp",
            "selected",
            "8 of 50 items: rerank.dpp chose 8 of 90",
        ),
        (
            [*recalled(90, kept=90), selected("dpp", 90, 30, limit=30), filtered("tone", 30, 29)],
            "rerank.dpp",
            "limit",
            "29 of 50 items: rerank.dpp keeps at most 30 (of 90), then prerank.tone dropped 1 of 30",
        ),
        (
            [*recalled(0, kept=0)],
            "recall.merge",
            "exhausted",
            "0 of 50 items: recall returned 0 different items (a 0)",
        ),
    ],
)
def test_shortfall_names_the_first_step_that_left_too_few_items(steps, place, reason, text):
    short = shortfall_of(50, steps)
    assert (short.wanted, short.got, short.step, short.reason, str(short)) == (
        50,
        steps[-1].n_out,
        place,
        reason,
        text,
    )
    assert json.loads(json.dumps(short.to_dict())) == short.to_dict()


def test_shortfall_is_none_if_the_page_is_full():
    assert (
        shortfall_of(12, [*recalled(20, kept=15), filtered("tone", 15, 13), selected("top_k", 13, 12)])
        is None
    )


def test_shortfall_counts_items_that_a_filter_kept_to_fill_the_page():
    fill = filtered("not_consumed", 15, 12)._replace(notes={"n_filled": 3}, reason="consumed before")
    short = shortfall_of(12, [*recalled(20, kept=15), fill, selected("top_k", 12, 12)])
    assert (short.wanted, short.got, short.reason, short.step) == (12, 9, "filled", fill.place)
    assert str(short) == "9 of 12 items: prerank.not_consumed kept 3 (consumed before) to fill the page"
    short = shortfall_of(14, [*recalled(20, kept=15), fill, selected("top_k", 12, 12)])
    assert (short.got, short.reason) == (9, "filtered") and short.detail.endswith(
        "kept 3 (consumed before) to fill the page"
    )
