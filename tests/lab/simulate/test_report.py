"""The report of a simulation: its documented keys, and a self-contained page."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_arms import WORK_CREATOR, arm

from karec.catalog.table import Table
from karec.lab.simulate.compare import compare_arms
from karec.lab.simulate.pages import describe_pages
from karec.lab.simulate.pictures import is_on_frontier
from karec.lab.simulate.report import write_simulation
from karec.lab.simulate.sums import sums_of

NARROW = [(0, 0, 0), (0, 2, 0), (1, 0, 0), (1, 4, 1)]
WIDE = [(0, 0, 0), (0, 2, 2), (1, 0, 3), (1, 4, 4)]


def logs():
    yield arm("plain", NARROW, facts={"ms a request": 12.5, "settings": {"k": 10}})
    yield arm("dpp-0.5", WIDE)
    for size in (1000, 10000):
        yield arm(f"pool-{size}", NARROW)


def report_of(arms, baseline, **options):
    """Returns the report of ``arms``, with the facts on pages that each simulation writes."""
    n = len(WORK_CREATOR)
    columns = {"creator_id": np.array(WORK_CREATOR), "song_id": np.arange(n), "tag": np.arange(n)}
    works = Table(np.arange(n), columns)
    pages = {arm.name: describe_pages(arm.exposures, works, seed=0) for arm in arms}
    logs = [replace(arm, facts={**arm.facts, "pages": pages[arm.name]}) for arm in arms]
    return compare_arms(map(sums_of, logs), baseline, resamples=20, **options)


@pytest.fixture
def written(tmp_path):
    report = report_of([*logs()], "plain", pair=("plain", "dpp-0.5"))
    data, page = write_simulation(report, tmp_path / "report")
    return json.loads(data.read_text()), page.read_text()


def test_report_has_the_documented_keys(written):
    report, _ = written
    documented = {"format", "baseline", "pair", "days", "users", "creators", "works", "resamples", "seed"}
    assert report.keys() == documented | {"arms"}
    assert report["format"] == 1
    of_arm = {"measures", "by_day", "users", "facts"}
    of_measure = {"value", "ci", "change", "change_ci", "relative", "relative_ci"}
    for arm_report in report["arms"].values():
        assert arm_report.keys() == of_arm
        assert all(measure.keys() == of_measure for measure in arm_report["measures"].values())
        assert all(len(days) == 2 for days in arm_report["by_day"].values())


def test_page_is_one_file_with_its_charts(written):
    _, page = written
    assert page.count("<svg") == 3
    for reference in ("src=", 'href="http', "@import", "url(http"):
        assert reference not in page


def test_dominated_arm_is_not_on_the_frontier():
    points = {"plain": (0.0, 0.0), "worse": (0.0, -10.0), "wide": (30.0, -5.0), "twin": (0.0, 0.0)}
    assert [name for name in points if is_on_frontier(name, points)] == ["plain", "wide", "twin"]


def test_page_shows_arms_as_text(written):
    _, page = written
    assert "2 days, 6 users, 3 creators" in page and "dpp-0.5" in page
    assert "nan" not in page


def test_report_shows_the_state_of_each_exposure_constraint(tmp_path):
    exposure = {
        "targets": [{"name": "type 1", "target_share": 0.3, "share": 0.295, "dual_variable": -0.4}],
        "caps": [{"column": "creator_id", "share": 0.02, "active": 7, "largest": 1.25}],
        "guarantees": [{"name": "works of 48 h", "reached": 98, "missed": 2, "underexposed": 3, "new": 40}],
        "fairness": [{"name": "works", "weight": 2.0, "values": 9, "max_exposures": 4.0}],
    }
    _, page = write_simulation(
        report_of([arm("plain", NARROW, facts={"exposure": exposure})], "plain"), tmp_path
    )
    shown = page.read_text()
    for text in ("29.5%", "-0.40", "≤ 2.0%", "7 active", "+1.25", "98 of 100; 3 of 40 new are below"):
        assert text in shown


def test_report_shows_arms_without_impressions(tmp_path):
    data, page = write_simulation(report_of([arm("plain"), arm("dpp-0.5")], "plain"), tmp_path)
    measures = json.loads(data.read_text())["arms"]["dpp-0.5"]["measures"]
    assert measures["play_s"]["value"] == 0 and measures["play_s"]["relative"] is None
    assert measures["gini_creators"] == dict.fromkeys(measures["gini_creators"])
    assert "–" in page.read_text()


def test_report_shows_pages_and_users(tmp_path):
    logs = [arm(name, NARROW) for name in ("plain", "dpp-0.5")]
    _, page = write_simulation(report_of(logs, "plain"), tmp_path)
    shown = page.read_text()
    assert shown.count("<svg") == 3 and "Fractions of users" in shown
    for text in ("Pages of “dpp-0.5”: 0 of 4 break a rule", "Most of one creator", "day, user, page"):
        assert text in shown
