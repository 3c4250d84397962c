"""Popular items: of all users, of one segment, of one scene."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_recall import by_popularity
from random_platform import make_platform, platforms

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.shared.postings import popularity
from karec.steps.shared.segments import PRIOR_SEEN
from karec.steps.sources.indicators import Indicators
from karec.steps.sources.popular import Popular

UNKNOWN_USER = Request(user_id=999)


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_popular_orders_by_satisfied_plays(platform):
    assert found(Popular(platform, quota=3)) == [109, 108, 107]
    assert Popular(platform, quota=3).recall(UNKNOWN_USER).ids.tolist() == [109, 108, 107]


@given(platforms, st.integers(1, 50))
def test_popular_orders_by_smoothed_rate_then_row(platform, quota):
    assert found(Popular(platform, quota)) == platform.works.ids[by_popularity(platform)[:quota]].tolist()


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
    assert [found(here, user) for user in (1, 2)] == [[103, 108, 107]] * 2
    assert [found(here, user) for user in (3, 4, 999)] == [[109, 108, 107]] * 3, (
        "equal to all users if no item was seen"
    )


def test_popular_in_segment_without_entries_equals_all_users(platform):
    for relations in ({}, {"history": Relation.from_pairs(np.empty(0, int), np.empty(0, int), 4)}):
        unseen = replace(segmented(platform), relations=relations)
        assert found(Popular(unseen, quota=3, segment="age_band")) == [109, 108, 107]


def test_popular_treats_users_without_family_as_no_segment(platform):
    users = Table(platform.users.ids, {"family": np.array([0, 0, 7, -1], np.int32)})
    here = Popular(replace(segmented(platform), users=users), quota=3, segment="family")
    assert [found(here, user) for user in (1, 2, 3, 4)] == [[109, 108, 107]] * 4


def in_scenes(platform, seed=0, n=60):
    """Users' lists of items seen at random in the scenes home, city or unknown. The scene live has no
    entries."""
    rng = np.random.default_rng(seed)
    columns = {"age_band": rng.integers(-1, 2, len(platform.users)).astype(np.int32)}
    relations = {}
    for name in ("history", "skipped"):
        users = np.sort(rng.integers(0, len(platform.users), n))
        seen = Relation.from_pairs(
            users, rng.choice(np.append(platform.works.ids, 7), n), len(platform.users)
        )
        relations[name] = replace(seen, scenes=rng.integers(-1, 2, n).astype(np.int16))
    users = Table(platform.users.ids, columns)
    return replace(platform, users=users, relations=relations, labels={"scene": ["home", "city", "live"]})


def rates_in(platform, scene, segment):
    """Returns {item: its rate} by the formula, counted entry by entry."""
    entries = []  # (in the scene, user's age band, work, enjoyed)
    for name, enjoyed in (("history", 1.0), ("skipped", 0.0)):
        of = platform.relations[name]
        user = np.repeat(np.arange(len(of)), np.diff(of.indptr))
        for at, work in enumerate(of.values.tolist()):
            if work in platform.works.ids:
                entries.append((of.scenes[at] == scene, platform.users["age_band"][user[at]], work, enjoyed))
    overall = np.mean([enjoyed for *_, enjoyed in entries])
    there = [enjoyed for here, _, _, enjoyed in entries if here]
    oftener = (sum(there) + PRIOR_SEEN * overall) / (len(there) + PRIOR_SEEN) / overall
    rates = dict(zip(platform.works.ids.tolist(), popularity(platform).tolist(), strict=True))
    for asked in (None, segment) if segment is not None else (None,):
        before = dict(rates)
        for work in rates:
            seen = [e for here, band, w, e in entries if here and w == work and asked in (None, band)]
            if seen:
                rates[work] = (sum(seen) / oftener + PRIOR_SEEN * before[work]) / (len(seen) + PRIOR_SEEN)
    return rates


@settings(max_examples=30)
@given(platforms, st.integers(0, 99), st.integers(1, 12))
def test_popular_by_scene_orders_by_rate_in_the_scene(platform, seed, quota):
    platform = in_scenes(platform, seed)
    here, own = (
        Popular(platform, quota, by_scene=True),
        Popular(platform, quota, segment="age_band", by_scene=True),
    )
    for name, code in (("home", 0), ("city", 1)):
        for user, band in zip(platform.users.ids.tolist(), platform.users["age_band"].tolist(), strict=True):
            for source, segment in ((here, None), (own, band if band >= 0 else None)):
                rates = rates_in(platform, code, segment)
                got = source.recall(Request(user, scene=name)).ids.tolist()
                assert len(got) == len(set(got)) == min(quota, len(rates))
                best = sorted(rates.values(), reverse=True)[: len(got)]
                np.testing.assert_allclose([rates[work] for work in got], best, rtol=1e-9)


def test_popular_by_scene_notes_a_scene_without_entries(platform):
    known = in_scenes(platform)
    bare = {name: replace(of, scenes=None) for name, of in known.relations.items()}
    before = replace(known, relations=bare)  # as bundles of before were written
    for snapshot, scene in ((known, "live"), (known, "hoem"), (before, "home")):
        for segment in (None, "age_band"):
            output = Popular(snapshot, 3, segment=segment, by_scene=True).recall(Request(1, scene=scene))
            assert output.value.ids.tolist() == found(Popular(snapshot, 3, segment=segment))
            assert output.notes == {
                "scene": f"the users' lists have no entry of the scene '{scene}': items popular in all scenes"
            }


def test_popular_builds_lists_by_scene_once_per_snapshot(platform):
    platform = in_scenes(platform)
    one, other = (Popular(platform, 3, segment="age_band", by_scene=True) for _ in range(2))
    assert one.best_by_scene is other.best_by_scene and one.best_by_scene.keys() == {"home", "city"}


def test_popular_by_scene_corrects_for_rates_of_the_scene(platform):
    """Viewers of city skip nine of ten items. Item 109, which most enjoy, is enjoyed there twice as often
    as others."""
    works = np.repeat([109, 108, 107], [10, 10, 20])
    skipped, history = works.copy(), np.array([109, 109, 108, 107, 107] + [101] * 200)
    relations = {
        "skipped": replace(Relation.from_pairs(np.zeros(40, int), skipped, 4), scenes=np.ones(40, np.int16)),
        "history": replace(
            Relation.from_pairs(np.zeros(205, int), history, 4),
            scenes=np.array([1] * 5 + [0] * 200, np.int16),
        ),
    }
    there = replace(platform, relations=relations, labels={"scene": ["home", "city"]})
    assert Popular(there, 1, by_scene=True).recall(Request(1, scene="city")).ids.tolist() == [109]


def test_popular_rejects_a_segment_that_is_not_an_integer_column(platform):
    for segment in ("height", "mood"):
        with pytest.raises(
            ValueError, match=f"segment = '{segment}' is not an integer column of users; these are"
        ):
            Popular(segmented(platform), quota=3, segment=segment)


@pytest.mark.parametrize("kind", [Popular, Indicators])
def test_popular_sources_reject_a_quota_of_zero(platform, kind):
    with pytest.raises(ValueError, match="quota must be positive, got 0"):
        kind(platform, 0)


def test_popular_smooths_the_rate_of_an_item_shown_once(platform):
    """Twenty impressions at the mean rate, here 0.6, are added to each item: 1 of 1 gives 13 of 21, below
    70 of 100."""
    platform.works["count_exposed"][0] = platform.works["count_long_view"][0] = 1
    mean = (550 - 10 + 1) / 901
    order = found(Popular(platform, quota=10))
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
    assert popularity(timeless).tolist() == [0.0] * 10 and found(Popular(timeless, quota=3)) == [
        100,
        101,
        102,
    ]


@pytest.mark.parametrize("counters", [(), ("count_click",)])
def test_popular_is_empty_without_items(counters):
    assert found(Popular(make_platform(seed=0, n_works=0, counters=counters, family=False), 5)) == []


def test_popular_shares_lists_of_equal_quota(platform):
    assert Popular(platform, 3).best is Popular(platform, 3).best
    assert [len(Popular(platform, quota).recall(UNKNOWN_USER)) for quota in (3, 4)] == [3, 4]
