"""Popular items: of all users, or of one segment."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import by_popularity
from random_platform import make_platform, platforms

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.shared.postings import popularity
from karec.steps.shared.segments import PRIOR_SEEN
from karec.steps.sources.popular import Popular

UNKNOWN_USER = Request(user_id=999)


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_popular_orders_by_satisfied_plays(platform):
    assert ids_of(Popular(platform, quota=3)) == [109, 108, 107]
    assert Popular(platform, quota=3).recall(UNKNOWN_USER).ids.tolist() == [109, 108, 107]


@given(platforms, st.integers(1, 50))
def test_popular_orders_by_smoothed_rate_then_row(platform, quota):
    assert ids_of(Popular(platform, quota)) == platform.works.ids[by_popularity(platform)[:quota]].tolist()


def segmented(platform):
    """Users 1 and 2 are young, 3 is not, 4 is unknown. The young users skipped 109, which all others like."""
    users = Table(platform.users.ids, {"age_band": np.array([0, 0, 1, -1]), "height": np.ones(4)})
    passed = Relation.from_pairs(np.repeat([0, 1], 10), np.full(20, 109), 4)
    liked = Relation.from_pairs(np.repeat([0, 1], 10), np.full(20, 103), 4)
    return replace(platform, users=users, relations={"skipped": passed, "history": liked})


def test_popular_in_segment_orders_by_rate_among_its_users(platform):
    """Smoothed to the rate of all users with 20 impressions at 0.55: 103 has 0.885, 108 0.842, 107 0.758."""
    here = Popular(segmented(platform), quota=3, segment="age_band")
    assert pytest.approx(0.885) == (20 + PRIOR_SEEN * (40 + 11) / 120) / (20 + PRIOR_SEEN)
    assert [ids_of(here, user) for user in (1, 2)] == [[103, 108, 107]] * 2
    assert [ids_of(here, user) for user in (3, 4, 999)] == [[109, 108, 107]] * 3, (
        "equal to all users if no item was seen"
    )


def test_popular_in_segment_without_entries_equals_all_users(platform):
    for relations in ({}, {"history": Relation.from_pairs(np.empty(0, int), np.empty(0, int), 4)}):
        unseen = replace(segmented(platform), relations=relations)
        assert ids_of(Popular(unseen, quota=3, segment="age_band")) == [109, 108, 107]


def test_popular_treats_users_without_family_as_no_segment(platform):
    users = Table(platform.users.ids, {"family": np.array([0, 0, 7, -1], np.int32)})
    here = Popular(replace(segmented(platform), users=users), quota=3, segment="family")
    assert [ids_of(here, user) for user in (1, 2, 3, 4)] == [[109, 108, 107]] * 4


def test_popular_rejects_a_segment_that_is_not_an_integer_column(platform):
    for segment in ("height", "mood"):
        with pytest.raises(
            ValueError, match=f"segment = '{segment}' is not an integer column of users; these are"
        ):
            Popular(segmented(platform), quota=3, segment=segment)


def test_popular_smooths_the_rate_of_an_item_shown_once(platform):
    """Twenty impressions at the mean rate, here 0.6, are added to each item: 1 of 1 gives 13 of 21, below
    70 of 100."""
    platform.works["count_exposed"][0] = platform.works["count_long_view"][0] = 1
    mean = (550 - 10 + 1) / 901
    order = ids_of(Popular(platform, quota=10))
    assert order[:5] == [109, 108, 107, 106, 100], "below items with 70 … 100 long views in 100 impressions"
    rate = popularity(platform)
    assert rate.dtype == np.float64
    assert rate[0] == pytest.approx((1 + 20 * mean) / 21, rel=1e-12)


def test_popularity_without_counters_falls_with_age_from_1_to_0():
    platform = make_platform(seed=1, n_works=9, counters=(), family=False)
    upload = platform.works["upload_ms"].astype(float)
    expected = (upload - upload.min()) / (upload.max() - upload.min())
    np.testing.assert_array_equal(popularity(platform), expected)
    for newer in (5, 6):
        platform = make_platform(seed=1, n_works=9, counters=(), family=False)
        platform.works["upload_ms"][:] = 5
        platform.works["upload_ms"][3] = newer
        expected = [0.0] * 3 + [float(newer > 5)] + [0.0] * 5
        assert popularity(platform).tolist() == expected, "items of the same age have the same popularity"


def test_popular_without_times_orders_by_row(platform):
    timeless = replace(platform, works=Table(platform.works.ids, {}))
    assert popularity(timeless).tolist() == [0.0] * 10 and ids_of(Popular(timeless, quota=3)) == [
        100,
        101,
        102,
    ]


@pytest.mark.parametrize("counters", [(), ("count_click",)])
def test_popular_is_empty_without_items(counters):
    assert ids_of(Popular(make_platform(seed=0, n_works=0, counters=counters, family=False), 5)) == []


def test_popular_shares_lists_of_equal_quota(platform):
    assert Popular(platform, 3).best is Popular(platform, 3).best
    assert [len(Popular(platform, quota).recall(UNKNOWN_USER)) for quota in (3, 4)] == [3, 4]
