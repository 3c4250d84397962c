"""Changes over worlds, with their intervals by hand."""

import numpy as np
import pytest

from karec.lab.simulate.compare_worlds import (
    MEASURES,
    compare_worlds,
    mean_interval,
    worlds_tables,
    write_worlds,
)


def report(values, users=None):
    return {
        "baseline": "old",
        "pair": None,
        "arms": {
            arm: {
                "measures": {measure: {"value": value} for measure in MEASURES},
                "users": users if arm != "old" else {},
            }
            for arm, value in values.items()
        },
    }


REPORTS = [
    report({"old": 10.0, "new": 11.0}, {"worse": 0.25}),
    report({"old": 20.0, "new": 21.0}, {"worse": 0.35}),
]


def test_interval_of_worlds_is_student_t():
    mean, (low, high) = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3.0
    assert high - mean == pytest.approx(3.182 * np.sqrt(14 / 3) / 2)
    assert mean - low == pytest.approx(high - mean)


def test_worlds_tables_compare_within_each_world():
    day, *_, pages, users = worlds_tables(compare_worlds(REPORTS))
    assert [row[0] for row in day.rows] == ["old", "new"]
    assert day.rows[0][1].startswith("15.0 [") and day.rows[1][1].startswith("+7.5 [")  # mean of 10 % and 5 %
    assert pages.rows[1][1].startswith("16.00 [")
    assert users.rows[0][:2] == ["new", "0.300 [\N{MINUS SIGN}0.335, 0.935]"]


def test_worlds_tables_have_a_dash_if_the_baseline_has_none():
    day, *_ = worlds_tables(compare_worlds([report({"old": 0.0, "new": 1.0}, {}), REPORTS[0]]))
    assert set(day.rows[1][1:]) == {"–"}


def test_worlds_page_has_a_frontier(tmp_path):
    page = write_worlds([compare_worlds(REPORTS)], tmp_path).read_text()
    assert page.count("<svg") == 1 and "+7.5 [" in page
