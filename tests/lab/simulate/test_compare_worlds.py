"""Changes over worlds, with their intervals by hand."""

import numpy as np
import pytest

from karec.lab.simulate.compare_worlds import MEASURES, mean_interval, worlds_table


def report(values):
    return {
        "arms": {
            arm: {"measures": {measure: {"value": value} for measure in MEASURES}}
            for arm, value in values.items()
        }
    }


REPORTS = [report({"old": 10.0, "new": 11.0}), report({"old": 20.0, "new": 21.0})]


def test_interval_of_worlds_is_student_t():
    mean, (low, high) = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3.0
    assert high - mean == pytest.approx(3.182 * np.sqrt(14 / 3) / 2)
    assert mean - low == pytest.approx(high - mean)


def test_worlds_table_compares_within_each_world():
    (row,) = worlds_table(REPORTS, "old").rows
    assert row[0] == "new"
    assert row[1].startswith("+7.5 [")  # the mean of 10 % and 5 %


def test_worlds_table_has_a_dash_if_the_baseline_has_none():
    (row,) = worlds_table([report({"old": 0.0, "new": 1.0}), REPORTS[0]], "old").rows
    assert set(row[1:]) == {"–"}
