"""Pages of an arm, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_arms import WORK_CREATOR, arm

from karec.catalog.table import Table
from karec.lab.simulate.pages import count_broken, count_pages, describe_pages, template_rules
from karec.lab.simulate.sums import sums_of
from karec.steps.shared.page_rules import Rule

# day, user, work: user 0 has a page with four works of creator 1, user 2 one of three creators
SHOWN = [(0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 2, 0), (1, 2, 2), (1, 2, 4)]


@pytest.fixture
def log():
    return arm(shown=SHOWN, position=[0, 1, 2, 3, 4, 0, 1, 2])


@pytest.fixture
def works():
    n = len(WORK_CREATOR)
    columns = {"creator_id": np.array(WORK_CREATOR), "song_id": np.arange(n), "tag": np.zeros(n, int)}
    return Table(np.arange(n), columns)


def test_count_pages_counts_items_of_creators(log):
    pages = count_pages(log.exposures)
    assert pages.user.tolist() == [0, 2] and pages.n_items.tolist() == [5, 3]
    assert pages.n_creators.tolist() == [2, 3] and pages.max_of_creator.tolist() == [4, 1]
    assert sorted(pages.items_of_creator) == [1, 1, 1, 1, 4]


def test_second_page_of_a_session_is_another_page():
    log = arm(shown=[(0, 0, 0)] * 3, position=[9, 10, 11])
    assert count_pages(log.exposures).n_items.tolist() == [1, 2]


def test_sums_have_items_per_creator_and_concentrated_pages(log):
    sums = sums_of(log).by_user
    items, pages = sums["items_a_creator"], sums["pages_concentrated"]
    assert items.over.sum() / items.per.sum() == 8 / 5
    assert (pages.over.sum(), pages.per.sum()) == (1, 2)


def test_describe_pages_orders_the_worst_first(log, works):
    pages = describe_pages(log.exposures, works, seed=0)
    assert pages["items_of_creator"][:4] == [4, 0, 0, 1] and sum(pages["items_of_creator"]) == 5
    assert pages["repeats_in_week"][:4] == [4, 0, 0, 1]
    assert pages["n_pages"] == 2 and pages["n_broken"] == 1  # neighbours of one creator
    worst = [pages["samples"][kind][0] for kind in ("most broken rules", "most of one creator")]
    assert worst[0] == worst[1]
    assert worst[0]["works"] == [0, 1, 0, 1, 2] and worst[0]["creators"] == [1, 1, 1, 1, 3]
    assert worst[0]["play_s"] == pytest.approx(54.0) and worst[0]["broken"] > 0


def test_describe_pages_of_an_empty_log_has_no_samples(works):
    pages = describe_pages(arm(shown=()).exposures, works, seed=0)
    assert pages["n_pages"] == 0 and set(map(len, pages["samples"].values())) == {0}


def test_template_rules_limit_creators():
    assert "creator_id" in {rule.column for rule in template_rules()}


@given(st.lists(st.integers(-1, 3), max_size=6), st.lists(st.integers(-1, 3), max_size=6), st.integers(2, 5))
def test_count_broken_counts_windows_with_too_many(shown, ids, window):
    values = shown + ids
    ends = range(len(shown), len(values))
    counts = [
        sum(other == values[end] for other in values[max(0, end - window + 1) : end + 1]) for end in ends
    ]
    is_known = [values[end] >= 0 for end in ends]
    expected = sum(count > 1 and known for count, known in zip(counts, is_known, strict=True))
    assert count_broken(Rule("c", window), shown, ids) == expected
