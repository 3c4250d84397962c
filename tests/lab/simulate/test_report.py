"""The report of a simulation: its documented keys, and a self-contained page."""

import json

import pytest
from small_arms import arm

from karec.lab.simulate.report import report_on, write_simulation

NARROW = [(0, 0, 0), (0, 2, 0), (1, 0, 0), (1, 4, 1)]
WIDE = [(0, 0, 0), (0, 2, 2), (1, 0, 3), (1, 4, 4)]


def logs():
    yield arm("plain", NARROW, facts={"ms a request": 12.5, "settings": {"k": 10}})
    yield arm("dpp-0.5", WIDE)
    for size in (1000, 10000):
        yield arm(f"pool-{size}", NARROW)


@pytest.fixture
def written(tmp_path):
    report = report_on(logs(), "plain", pair=("plain", "dpp-0.5"), resamples=20)
    data, page = write_simulation(report, tmp_path / "report")
    return json.loads(data.read_text()), page.read_text()


def test_report_has_the_documented_keys(written):
    report, _ = written
    documented = {
        "format",
        "baseline",
        "pair",
        "days",
        "users",
        "creators",
        "works",
        "resamples",
        "seed",
        "arms",
    }
    assert report.keys() == documented | {"prices"}
    assert report["format"] == 3
    of_arm = {"knob", "on_frontier", "measures", "by_day", "facts"}
    of_measure = {"value", "ci", "change", "change_ci", "relative", "relative_ci"}
    for told in report["arms"].values():
        assert told.keys() == of_arm
        assert all(measure.keys() == of_measure for measure in told["measures"].values())
        assert all(len(days) == 2 for days in told["by_day"].values())
    assert [family.keys() for family in report["prices"]] == 2 * [{"family", "steps", "from_baseline"}]


def test_page_is_one_file_with_its_charts(written):
    _, page = written
    assert page.count("<svg") == 2
    for reference in ("src=", 'href="http', "@import", "url(http"):
        assert reference not in page


def test_page_shows_arms_as_text(written):
    _, page = written
    for text in (
        "2 days, 6 users, 3 creators",
        "dpp-0.5",
    ):
        assert text in page
    assert "nan" not in page


def test_report_shows_the_state_of_each_exposure_constraint(tmp_path):
    exposure = {
        "targets": [{"name": "type 1", "target_share": 0.3, "share": 0.295, "dual_variable": -0.4}],
        "caps": [{"column": "creator_id", "share": 0.02, "active": 7, "largest": 1.25}],
        "guarantees": [{"name": "works of 48 h", "reached": 98, "missed": 2, "underexposed": 3, "new": 40}],
        "fairness": [{"name": "works", "weight": 2.0, "values": 9, "max_exposures": 4.0}],
    }
    _, page = write_simulation(
        report_on([arm("plain", NARROW, facts={"exposure": exposure})], "plain", resamples=20), tmp_path
    )
    shown = page.read_text()
    for text in ("29.5%", "-0.40", "≤ 2.0%", "7 active", "+1.25", "98 of 100; 3 of 40 new are below"):
        assert text in shown


def test_report_shows_screening_by_reason(tmp_path):
    told = {
        "uploads": 1_300, "kept": 1_000, "rejected": {"too short": 100, "quota": 200},
        "unmet": {"new creators": 3}, "quality_kept": 0.25, "quality_rejected": None,
    }  # fmt: skip
    arms = [arm("plain", shown=[(0, 0, 0)]), arm("screened", shown=[(0, 0, 0)], facts={"screening": told})]
    _, page = write_simulation(report_on(arms, "plain", resamples=2), tmp_path)
    text = page.read_text(encoding="utf-8")
    for words in (
        "<h2>Screening",
        "1,300",
        "1,000",
        "+0.25",
        "… too short",
        "new creators: not met",
        "on 3 days",
    ):
        assert words in text
    assert (
        "<h2>Screening"
        not in write_simulation(report_on(arms[:1], "plain", resamples=2), tmp_path)[1].read_text()
    )


def test_report_of_one_arm_has_no_prices(tmp_path):
    _, page = write_simulation(report_on([arm("plain", NARROW)], "plain", resamples=20), tmp_path)
    shown = page.read_text()
    assert shown.count("<svg") == 2 and "Price of one more creator" not in shown


def test_report_shows_arms_without_impressions(tmp_path):
    data, page = write_simulation(report_on([arm("plain"), arm("dpp-0.5")], "plain", resamples=20), tmp_path)
    measures = json.loads(data.read_text())["arms"]["dpp-0.5"]["measures"]
    assert measures["play_s"]["value"] == 0 and measures["play_s"]["relative"] is None
    assert measures["gini_creators"] == dict.fromkeys(measures["gini_creators"])
    assert "–" in page.read_text()
