"""What a report says of records that are known."""

import json
from array import array
from itertools import pairwise
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.load.records import LOST, TIMED_OUT, UNCONNECTED, WRONG, Records
from karec.load.report import histogram, joined, quantiles, report
from karec.load.run import Plan
from karec.load.target import Target
from karec.load.traffic import Asked

VALUES = st.lists(st.floats(0.02, 1e5), min_size=1, max_size=60)


def plan_of(deadline_ms=None, rate=2.0, seconds=5.0):
    return Plan(Target("127.0.0.1", 80), Asked([1, 2], deadline_ms=deadline_ms), rate, seconds)


def records_of(*rows):
    """Rows (due, begun, sent, done, status, event), seconds."""
    due, begun, sent, done, status, event = zip(*rows, strict=True)
    return Records(
        *(array("d", each) for each in (due, begun, sent, done)), array("h", status), array("b", event)
    )


def test_latency_counts_from_the_moment_and_service_time_from_the_sending():
    """Of a request that waited for a connection for a second, the second is in the one and not in the
    other."""
    told = report(plan_of(), records_of((1.0, 1.0, 2.0, 2.125, 200, 0)), 0)
    assert told["latency_ms"]["from_moment"]["max"] == pytest.approx(1125)
    assert told["latency_ms"]["service"]["max"] == pytest.approx(125)


def test_goodput_counts_what_came_within_the_deadline_of_its_moment():
    rows = [
        (0.0, 0.0, 0.0, 0.050, 200, 0),
        (1.0, 1.0, 1.0, 1.052, 200, 0),  # within the slack
        (2.0, 2.0, 2.045, 2.060, 200, 0),  # quick once it was sent, but late
        (3.0, 3.0, 3.0, 3.001, 503, 0),
        (4.0, 4.0, 4.0, 4.001, 200, 1),  # events are no feeds
    ]
    told = report(plan_of(deadline_ms=50), records_of(*rows), 2.5)
    assert told["goodput_per_s"] == 2 / 5 and told["good_share"] == 2 / 4 and told["answered_per_s"] == 3 / 5
    assert (told["requests"], told["event_requests"]) == (4, 1)
    # without a deadline every answer is good
    assert report(plan_of(), records_of(*rows), 0)["good_share"] == 3 / 4


def test_every_request_is_in_one_status_and_refusals_have_a_latency_of_their_own():
    rows = [
        (0.0, 0.0, 0.0, 0.010, 200, 0),
        (0.1, 0.1, 0.1, 0.104, 503, 0),
        (0.2, 0.2, 0.2, 0.202, 429, 1),
        (0.3, 0.3, 0.3, 0.310, LOST, 0),
        (0.4, 0.4, nan, nan, TIMED_OUT, 0),
        (0.5, 0.5, nan, nan, UNCONNECTED, 0),
        (0.6, 0.6, 0.6, 0.610, WRONG, 0),
    ]
    told = report(plan_of(), records_of(*rows), 0)
    assert told["statuses"] == {
        "503": 1,
        "429": 1,
        "200": 1,
        "connection lost": 1,
        "no answer in time": 1,
        "no connection": 1,
        "wrong answer": 1,
    }
    assert told["refused_share"] == 2 / 7 and told["refused_latency_ms"]["service"]["max"] == pytest.approx(4)
    assert told["good_share"] == 1 / 6
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("late_s", "cpu_s", "behind"),
    [(0.004, 1.0, False), (0.006, 1.0, True), (0.0, 4.9, True), (0.0, 1.0, False)],
)
def test_a_generator_that_is_late_or_at_the_end_of_its_core_is_behind(late_s, cpu_s, behind):
    records = records_of((0.0, late_s, late_s, late_s + 0.01, 200, 0))
    records.cpu_s, records.wall_s = cpu_s, 5.0
    assert report(plan_of(), records, 0)["generator"]["fell_behind"] is behind


def test_nothing_asked_is_a_report_too():
    records = Records.of([])
    told = report(plan_of(), records, 0)
    assert told["goodput_per_s"] == 0 and told["latency_ms"]["service"]["p50"] is None
    json.dumps(told, allow_nan=False)


@given(VALUES)
def test_a_quantile_is_a_value_that_so_large_a_share_does_not_exceed(values):
    told = quantiles(np.array(values))
    assert told["max"] == max(values)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        if told[name] is None:
            assert len(values) * (1 - share) < 1  # none of them would lie above
            continue
        assert told[name] in values
        assert sum(value <= told[name] for value in values) >= share * len(values) - 1e-6
        assert sum(value < told[name] for value in values) < share * len(values) + 1e-6


@given(VALUES, VALUES)
def test_histograms_of_two_runs_add_up_to_that_of_both(one, other):
    added = {}
    for edge, n in histogram(np.array(one)) + histogram(np.array(other)):
        added[edge] = added.get(edge, 0) + n
    assert sorted(added.items()) == histogram(np.array(one + other))


@given(VALUES)
def test_a_bucket_holds_what_is_at_most_its_edge_and_within_two_and_a_half_per_cent_of_it(values):
    ordered, at = sorted(values), 0
    for edge, n in histogram(np.array(values)):
        for value in ordered[at : at + n]:
            assert edge / 1.025 <= value <= edge * (1 + 1e-9)
        at += n
    assert at == len(values)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5))))
def test_joined_ranges_hold_the_same_numbers_and_do_not_touch(given_ranges):
    ranges = [(first, first + more) for first, more in given_ranges]
    found = joined(ranges)
    assert {n for a, b in found for n in range(a, b + 1)} == {n for a, b in ranges for n in range(a, b + 1)}
    assert all(b + 1 < a for (_, b), (a, _) in pairwise(found))
