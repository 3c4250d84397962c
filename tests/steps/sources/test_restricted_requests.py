"""Sources pass over items that the request may not show, before the items count toward any limit."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import by_popularity, plain_follow, plain_profile, plain_social
from random_platform import USERS, platforms
from restricted import restrict

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.features.vocabulary import Vocabulary
from karec.pipeline.types import Request
from karec.steps.sources.als import Als
from karec.steps.sources.city import City
from karec.steps.sources.community import Community
from karec.steps.sources.follow import Follow
from karec.steps.sources.fresh import Fresh
from karec.steps.sources.indicators import Indicators
from karec.steps.sources.item_to_item import ItemToItem
from karec.steps.sources.popular import Popular
from karec.steps.sources.profile import Profile
from karec.steps.sources.social import Social

users, quotas, limits = st.sampled_from([*USERS.tolist(), 999]), st.integers(1, 40), st.integers(1, 6)
seeds = st.integers(0, 2**32)


def some_works(platform, seed):
    """Returns about half of the ids of works."""
    ids = platform.works.ids
    return {*ids[np.random.default_rng(seed).random(len(ids)) < 0.5].tolist()}


def ids_of(source, platform, allowed, user_id=1):
    return source.recall(restrict(Request(user_id, request_id="r"), platform, allowed)).ids.tolist()


@given(platforms, users, quotas, limits, seeds)
def test_follow_passes_over_works_that_are_not_allowed(platform, user_id, quota, per_creator, seed):
    allowed = some_works(platform, seed)
    expected = plain_follow(platform, user_id, quota, per_creator, allowed)
    assert ids_of(Follow(platform, quota, per_creator), platform, allowed, user_id) == expected


@given(platforms, users, quotas, limits, seeds)
def test_social_passes_over_works_that_are_not_allowed(platform, user_id, quota, per_person, seed):
    allowed = some_works(platform, seed)
    expected = plain_social(platform, user_id, quota, 9, per_person, allowed)
    assert ids_of(Social(platform, quota, 9, per_person), platform, allowed, user_id) == expected


@given(platforms, users, quotas, seeds)
def test_profile_passes_over_works_that_are_not_allowed(platform, user_id, quota, seed):
    allowed, facets = some_works(platform, seed), ["song_id", "creator_id", "tag"]
    expected = plain_profile(platform, user_id, quota, facets, 3, 0.5, allowed)
    source = Profile(platform, quota, facets, keys_per_facet=3, decay=0.5)
    assert ids_of(source, platform, allowed, user_id) == expected


@given(platforms, quotas, seeds)
def test_popular_returns_the_best_allowed_works(platform, quota, seed):
    allowed = some_works(platform, seed)
    best = [int(platform.works.ids[row]) for row in by_popularity(platform)]
    assert ids_of(Popular(platform, quota), platform, allowed) == [id for id in best if id in allowed][:quota]


@given(platforms, quotas, seeds)
def test_indicators_return_the_best_allowed_works(platform, quota, seed):
    if "count_click" not in platform.works.columns:
        return
    allowed, weights = some_works(platform, seed), {"click": 1.0}
    full = Indicators(platform, len(platform.works), weights).recall(Request(1)).ids.tolist()
    source = Indicators(platform, quota, weights)
    assert ids_of(source, platform, allowed) == [id for id in full if id in allowed][:quota]


@given(platforms, limits, seeds)
def test_popular_of_a_segment_returns_its_best_allowed_works(platform, quota, seed):
    allowed = some_works(platform, seed)
    columns = {**platform.users.columns, "age": np.arange(len(platform.users)) % 2}
    platform = replace(platform, users=Table(platform.users.ids, columns))
    for user_id in USERS.tolist():
        best = Popular(platform, len(platform.works), segment="age").recall(Request(user_id)).ids.tolist()
        source = Popular(platform, quota, segment="age")
        assert ids_of(source, platform, allowed, user_id) == [id for id in best if id in allowed][:quota]


@given(platforms, limits, st.integers(0, 3), seeds)
def test_fresh_returns_allowed_works_of_the_pool_then_older_ones(platform, quota, more, seed):
    allowed = some_works(platform, seed)
    pool = Fresh(platform, quota + more, quota + more).recall(Request(1, request_id="r")).ids.tolist()
    newest = Fresh(platform, len(platform.works), draws=0).recall(Request(1)).ids.tolist()
    expected = [id for id in dict.fromkeys([*pool, *newest]) if id in allowed][:quota]
    assert ids_of(Fresh(platform, quota, quota + more), platform, allowed) == expected


def test_city_alternates_allowed_popular_and_new_items(platform):
    """Of the even items 108 is the most popular and 100 the newest."""
    works = Table(platform.works.ids, {**platform.works.columns, "city": np.array([0, 5] * 5)})
    cities = replace(
        platform, works=works, users=Table(platform.users.ids, {"city": np.array([0, 5, 9, -1])})
    )
    assert ids_of(City(cities, quota=20), cities, {*range(100, 110)}) == [108, 100, 106, 102, 104]
    assert ids_of(City(cities, quota=2), cities, {102, 104, 105, 106}) == [106, 102]


def test_community_alternates_allowed_enjoyed_and_made_items(platform):
    users_ = Table(platform.users.ids, {"community": np.array([0, 0, 4, -1], np.int32)})
    history = Relation.from_pairs(np.array([0, 1, 1, 2, 3]), np.array([100, 100, 109, 105, 107]), 4)
    grouped = replace(platform, users=users_, relations={"history": history})
    source = Community(grouped, quota=3)
    assert ids_of(source, grouped, {*range(100, 110)})[0] == 109
    assert ids_of(source, grouped, {100, 102, 106, 107}) == [100, 102, 106]


@dataclass
class Encoder:
    """The part of an encoder that the sources read."""

    cowatch: CowatchVectors | None


@pytest.fixture
def encoder():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(9, 3)).astype(np.float32)
    vectors[0] = 0
    als = AlsFactors(np.stack([vectors, vectors]), np.stack([2.0 * np.eye(3)] * 2))
    return Encoder(CowatchVectors(Vocabulary(np.arange(100, 108)), vectors, als=als))


@pytest.mark.parametrize(("source", "limit"), [(Als, {}), (ItemToItem, {"seeds": 1, "per_seed": 2})])
def test_nearest_allowed_items_are_recalled(platform, encoder, source, limit):
    history = Relation.from_pairs(np.zeros(1, int), np.array([103]), 4)
    platform = replace(platform, relations={"history": history})
    full = ids_of(source(platform, encoder, quota=20), platform, {*range(100, 110)})
    allowed = {*full[::2]}
    expected = [id for id in full if id in allowed][:2]
    assert ids_of(source(platform, encoder, quota=2, **limit), platform, allowed) == expected
