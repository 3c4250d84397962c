"""Popular and fresh works: the same for everybody."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import by_popularity
from random_platform import make_platform, platforms

from karec.platform.table import Table
from karec.recall.popular import Fresh, Popular
from karec.recall.postings import popularity
from karec.types import Request

A_STRANGER = Request(user_id=999)


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_popular_is_by_satisfied_plays_and_fresh_by_upload(platform):
    assert found(Popular(platform, quota=3)) == [109, 108, 107]
    assert found(Fresh(platform, quota=3)) == [100, 101, 102]
    assert Popular(platform, quota=3).recall(A_STRANGER).ids.tolist() == [109, 108, 107]


@given(platforms, st.integers(1, 50))
def test_popular_is_by_smoothed_rate_and_fresh_by_moment_and_ties_are_by_row(platform, quota):
    works = platform.works
    newest = sorted(range(len(works)), key=lambda row: (-works["upload_ms"][row], row))
    assert found(Popular(platform, quota)) == works.ids[by_popularity(platform)[:quota]].tolist()
    assert found(Fresh(platform, quota)) == works.ids[newest[:quota]].tolist()


def test_one_lucky_show_does_not_make_a_work_popular(platform):
    """Twenty shows at the mean rate, .6 here, are imagined for each work: 1 of 1 is 13 of 21, behind 70 of 100."""
    platform.works["count_exposed"][0] = platform.works["count_long_view"][0] = 1
    mean = (550 - 10 + 1) / 901
    order = found(Popular(platform, quota=10))
    assert order[:5] == [109, 108, 107, 106, 100], "behind works of 70 … 100 long views in 100 shows"
    rate = popularity(platform)
    assert rate.dtype == np.float64
    assert rate[0] == pytest.approx((1 + 20 * mean) / 21, rel=1e-12)


def test_without_counters_popularity_falls_with_age_from_1_to_0():
    platform = make_platform(seed=1, n_works=9, counters=(), family=False)
    upload = platform.works["upload_ms"].astype(float)
    expected = (upload - upload.min()) / (upload.max() - upload.min())
    np.testing.assert_array_equal(popularity(platform), expected)
    platform.works["upload_ms"][:] = 5
    assert popularity(platform).tolist() == [0.0] * 9, "no work is newer than another"
    platform.works["upload_ms"][3] = 6
    assert popularity(platform).tolist() == [0.0] * 3 + [1.0] + [0.0] * 5


def test_without_moments_no_work_is_fresh_and_popular_works_are_in_order_of_rows(platform):
    timeless = replace(platform, works=Table(platform.works.ids, {}))
    assert popularity(timeless).tolist() == [0.0] * 10 and found(Popular(timeless, quota=3)) == [100, 101, 102]
    message = "fresh recall needs the moment when works were published; these works have none"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Fresh(timeless, quota=3)


@pytest.mark.parametrize("counters", [(), ("count_click",)])
def test_a_platform_without_works_has_no_popular_ones(counters):
    platform = make_platform(seed=0, n_works=0, counters=counters, family=False)
    assert found(Popular(platform, 5)) == found(Fresh(platform, 5)) == []


def test_channels_of_one_quota_share_what_they_found_and_of_two_do_not(platform):
    for kind, own in ((Popular, "best"), (Fresh, "newest")):
        assert getattr(kind(platform, 3), own) is getattr(kind(platform, 3), own)
        assert [len(kind(platform, quota).recall(A_STRANGER)) for quota in (3, 4)] == [3, 4]
        assert kind(platform, 3).quota == 3
