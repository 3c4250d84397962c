"""Reach of lists against numbers counted by hand, and the difference of two methods."""

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.lab.studies.reach import Lists, compare_reach, reach_table

HOUR_MS = 3_600_000
NOW = 1_000 * HOUR_MS
# six works: two of creator 7, two of creator 8, pages of creator 9, pages of nobody known
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
    reach = compare_reach(lists([0, 2, 0, 5]), lists([0, 0, 0, 0]), WORKS, NOW)
    assert reach["library"] == {"works": 6, "creators": 3}
    cascade, plain = values(reach, "cascade"), values(reach, "top_k")
    # the work of nobody known has no creator
    assert (cascade["works reached"], cascade["creators reached"]) == (3, 2)
    assert cascade["Gini over all creators"] == pytest.approx((-2 * 0 + 0 * 1 + 2 * 2) / (3 * 3))
    assert (plain["works reached"], plain["creators reached"]) == (1, 1)
    assert plain["Gini over all creators"] == pytest.approx(2 / 3)
    assert plain["Gini over all works"] == pytest.approx(5 / 6)


def test_reach_counts_feedback_by_work_and_list():
    reach = compare_reach(
        lists([0, 2, 1, 3], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]), lists([0] * 4, true=[0.2] * 4), WORKS, NOW
    )
    cascade = values(reach, "cascade")
    assert cascade["true likes of a work"] == pytest.approx(0.25)
    assert cascade["relevance (mean fused score)"] == pytest.approx(2.5)
    assert cascade["intra-list distance"] == pytest.approx(0.375)
    assert (cascade["share younger than 24 h"], cascade["share younger than 72 h"]) == (0.25, 0.5)
    assert reach["change"]["true likes of a work"]["value"] == pytest.approx(0.05)


def test_equal_lists_have_no_difference():
    pages = lists([0, 2, 1, 3], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    for name, measure in compare_reach(pages, pages, WORKS, NOW)["change"].items():
        assert measure == {"value": 0.0, "ci": (0.0, 0.0)}, name


def test_difference_of_reach_is_paired():
    """Each user gains .1, so its interval has no width, though users differ."""
    reach = compare_reach(
        lists([0] * 4, true=[0.2, 0.2, 0.9, 0.9]), lists([0] * 4, true=[0.1, 0.1, 0.8, 0.8]), WORKS, NOW
    )
    name = "true likes of a work"
    assert reach["change"][name]["ci"] == pytest.approx((0.1, 0.1))
    assert reach["cascade"][name]["ci"] == pytest.approx((0.2, 0.9))


def test_reach_without_creators_and_times_uses_works():
    reach = compare_reach(lists([0, 2, 0, 5]), lists([0, 0, 0, 0]), Table(np.arange(6), {}), NOW)
    assert reach["library"] == {"works": 6, "creators": None}
    assert values(reach, "change")["works reached"] == 2
    assert not any("creator" in name or "younger" in name for name in reach["cascade"])
    assert "creators" not in reach_table(reach).note.split(" in the library")[0]


def test_empty_lists_have_no_means_and_no_gini():
    nothing = Lists(np.empty(0, int), np.empty(0, int), np.empty(0), np.zeros(2), {})
    reach = compare_reach(nothing, lists([0, 2, 1, 3]), WORKS, NOW)
    assert reach["cascade"]["works reached"]["value"] == 0
    for name in ("relevance (mean fused score)", "Gini over all works", "share younger than 24 h"):
        assert reach["cascade"][name] == reach["change"][name] == {"value": None, "ci": None}
    assert {row[0]: row[1] for row in reach_table(reach).rows}["Gini over all works"] == "–"


def test_rows_show_every_measure_with_the_sign_of_its_change():
    reach = compare_reach(lists([0, 2, 1, 3], true=[0.2] * 4), lists([0] * 4, true=[0.1] * 4), WORKS, NOW)
    rows = {row[0]: row[1:] for row in reach_table(reach).rows}
    assert rows.keys() == reach["cascade"].keys()
    assert rows["true likes of a work"] == (
        *("0.2000 [0.2000, 0.2000]", "0.1000 [0.1000, 0.1000]", "+0.1000 [0.1000, 0.1000]"),
    )
    assert "6 works and 3 creators in the library" in reach_table(reach).note
    assert "world's probabilities" in reach_table(reach).note
