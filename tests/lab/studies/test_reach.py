"""Reach of lists against numbers counted by hand, and the difference of two methods."""

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.lab.studies.reach import Lists, compare_reach, reach_table

HOUR_MS = 3_600_000
NOW = 1_000 * HOUR_MS
# six works: two of creator 7, two of creator 8, one of creator 9, one of nobody known
WORKS = Table(
    np.arange(6),
    {
        "creator_id": np.array([7, 7, 8, 8, 9, -1]),
        "upload_ms": NOW - HOUR_MS * np.array([1, 100, 30, 100, 100, 0]),
    },
)


def lists(work, scores=None, true=None):
    """Two works for each of two users."""
    scores = np.ones(4) if scores is None else np.array(scores)
    outcomes = {} if true is None else {"true likes of a work": np.array(true)}
    return Lists(np.array([0, 0, 1, 1]), np.array(work), scores, np.array([0.5, 0.25]), outcomes)


def values(reach, part):
    return {name: measure["value"] for name, measure in reach[part].items()}


def test_reach_counts_works_and_creators_in_no_list():
    found = compare_reach(lists([0, 2, 0, 5]), lists([0, 0, 0, 0]), WORKS, NOW)
    assert found["library"] == {"works": 6, "creators": 3}
    told, plain = values(found, "cascade"), values(found, "top_k")
    # the work of nobody known has no creator
    assert (told["works reached"], told["creators reached"]) == (3, 2)
    assert told["Gini over all creators"] == pytest.approx((-2 * 0 + 0 * 1 + 2 * 2) / (3 * 3))
    assert (plain["works reached"], plain["creators reached"]) == (1, 1)
    assert plain["Gini over all creators"] == pytest.approx(2 / 3)
    assert plain["Gini over all works"] == pytest.approx(5 / 6)


def test_reach_counts_feedback_by_work_and_list():
    found = compare_reach(
        lists([0, 2, 1, 3], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]), lists([0] * 4, true=[0.2] * 4), WORKS, NOW
    )
    told = values(found, "cascade")
    assert told["true likes of a work"] == pytest.approx(0.25)
    assert told["relevance (mean fused score)"] == pytest.approx(2.5)
    assert told["intra-list distance"] == pytest.approx(0.375)
    assert (told["share younger than 24 h"], told["share younger than 72 h"]) == (0.25, 0.5)
    assert found["change"]["true likes of a work"]["value"] == pytest.approx(0.05)


def test_equal_lists_have_no_difference():
    one = lists([0, 2, 1, 3], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    for name, measure in compare_reach(one, one, WORKS, NOW)["change"].items():
        assert measure == {"value": 0.0, "ci": (0.0, 0.0)}, name


def test_difference_of_reach_is_paired():
    """Each user gains .1, so its interval has no width, though users differ."""
    found = compare_reach(
        lists([0] * 4, true=[0.2, 0.2, 0.9, 0.9]), lists([0] * 4, true=[0.1, 0.1, 0.8, 0.8]), WORKS, NOW
    )
    name = "true likes of a work"
    assert found["change"][name]["ci"] == pytest.approx((0.1, 0.1))
    assert found["cascade"][name]["ci"] == pytest.approx((0.2, 0.9))


def test_reach_without_creators_and_times_uses_works():
    found = compare_reach(lists([0, 2, 0, 5]), lists([0, 0, 0, 0]), Table(np.arange(6), {}), NOW)
    assert found["library"] == {"works": 6, "creators": None}
    assert values(found, "change")["works reached"] == 2
    assert not any("creator" in name or "younger" in name for name in found["cascade"])
    assert "creators" not in reach_table(found).note.split(" in the library")[0]


def test_empty_lists_have_no_means_and_no_gini():
    nothing = Lists(np.empty(0, int), np.empty(0, int), np.empty(0), np.zeros(2), {})
    found = compare_reach(nothing, lists([0, 2, 1, 3]), WORKS, NOW)
    assert found["cascade"]["works reached"]["value"] == 0
    for name in ("relevance (mean fused score)", "Gini over all works", "share younger than 24 h"):
        assert found["cascade"][name] == found["change"][name] == {"value": None, "ci": None}
    assert {row[0]: row[1] for row in reach_table(found).rows}["Gini over all works"] == "–"


def test_rows_show_every_measure_with_the_sign_of_its_change():
    found = compare_reach(lists([0, 2, 1, 3], true=[0.2] * 4), lists([0] * 4, true=[0.1] * 4), WORKS, NOW)
    rows = {row[0]: row[1:] for row in reach_table(found).rows}
    assert rows.keys() == found["cascade"].keys()
    assert rows["true likes of a work"] == (
        *("0.2000 [0.2000, 0.2000]", "0.1000 [0.1000, 0.1000]", "+0.1000 [0.1000, 0.1000]"),
    )
    assert "6 works and 3 creators in the library" in reach_table(found).note
    assert "world's probabilities" in reach_table(found).note
