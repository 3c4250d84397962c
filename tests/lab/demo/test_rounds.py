"""Two rounds on the same pools: the kept fraction of the ranker's best works, and the paired gain."""

import numpy as np
import pytest

from karec.lab.demo.rounds import compare_rounds, rounds_table

USERS = np.array([1, 2, 3, 4])


def round_of(top10, top100):
    return {10: np.array(top10), 100: np.array(top100)}


def measured(auc, behind=None):
    return {
        "click": {
            "auc": auc,
            "auc_ci": (auc - 0.1, auc + 0.1),
            "auc_behind": behind,
            "auc_behind_ci": (0.0, 0.2),
        }
    }


@pytest.fixture
def compared():
    first = round_of([0.5, 0.7, 0.9, 0.5], [0.2, np.nan, 0.4, 0.3])
    second = round_of([0.6, 0.8, 1.0, 0.6], [0.2, np.nan, 0.5, 0.3])
    return compare_rounds(USERS, (first, second), {"first": measured(0.6, 0.1), "second": measured(0.7, 0.0)})


def test_means_are_over_the_pools_of_sufficient_size(compared):
    assert compared["first"]["kept.top10"]["value"] == pytest.approx(0.65)
    assert compared["second"]["kept.top100"]["value"] == pytest.approx(1.0 / 3)
    assert compared["gain"]["kept.top100"]["value"] == pytest.approx(0.1 / 3)


def test_gain_is_paired(compared):
    """Every pool gains .1, so the interval of the gain has no width, though the pools differ."""
    gain = compared["gain"]["kept.top10"]
    assert gain["value"] == pytest.approx(0.1) and gain["ci"] == pytest.approx((0.1, 0.1))
    assert compared["first"]["kept.top10"]["ci"][0] < 0.65 < compared["first"]["kept.top10"]["ci"][1]


def test_gain_in_auc_equals_the_quality_table(compared):
    assert compared["gain"]["click.auc"] == {"value": 0.1, "ci": (0.0, 0.2)}


def test_too_small_pools_have_no_value():
    small = round_of([np.nan], [np.nan])
    found = compare_rounds(np.array([1]), (small, small), {"first": {}, "second": {}})
    assert found["gain"]["kept.top10"] == {"value": None, "ci": None}


def test_table_shows_each_measure(compared):
    of = {
        "taught_by": {"requests": 400, "outcomes": 4000},
        "measured_on": {"requests": 4, "pool": 900, "share": 0.01},
    }
    table = rounds_table({**of, **compared})
    assert [row[0] for row in table.rows] == [
        "ranker's top 10 kept",
        "ranker's top 100 kept",
        "click, AUC of towers",
    ]
    assert table.rows[0][3].startswith("+0.1000")
    assert "400 served requests and the feedback to 4,000 impressions" in table.note
