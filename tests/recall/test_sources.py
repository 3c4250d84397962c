"""Each recall channel on a platform small enough to read (tests/conftest.py)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.recall.model import Model
from karec.recall.popular import Fresh, Popular
from karec.recall.postings import Postings, interleave
from karec.recall.profile import Profile
from karec.recall.social import Social
from karec.types import Request

A_STRANGER = Request(user_id=999)


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(0, 6), st.integers(0, 9))
def test_postings_are_sorted_lists_by_key(pairs, key, limit):
    keys = np.array([k for k, _ in pairs], np.int64)
    priority = np.array([p for _, p in pairs], np.int64)
    expected = sorted((row for row, (k, _) in enumerate(pairs) if k == key), key=lambda row: (-priority[row], row))
    assert Postings.build(keys, priority).of(key, limit).tolist() == expected[:limit]


def test_interleaving_takes_turns_and_leaves_repeats_out():
    lists = [np.array([1, 2, 3]), np.array([9, 1]), np.array([2])]
    assert interleave(lists, 10).tolist() == [1, 9, 2, 3]
    assert interleave(lists, 2).tolist() == [1, 9]
    assert interleave([], 10).tolist() == []


def test_profile_brings_works_of_songs_creators_and_tags_in_the_history(platform):
    by_song = found(Profile(platform, quota=10, facets=["song_id"]))  # songs 50 and 51, best plays first
    assert set(by_song) == {100, 103, 106, 109, 101, 104, 107}
    assert by_song[:2] == [107, 109]  # the song of the later work weighs more, so it comes first
    by_creator = found(Profile(platform, quota=10, facets=["creator_id"]))
    assert set(by_creator) == {100, 101, 106, 109, 104, 105, 108}


def test_profile_keeps_to_its_quota(platform):
    assert len(found(Profile(platform, quota=3))) == 3


@pytest.mark.parametrize("user_id", [4, 999])
def test_profile_of_a_user_without_history_is_empty(platform, user_id):
    assert found(Profile(platform, quota=10), user_id) == []


def test_profile_refuses_a_facet_that_works_do_not_have(platform):
    with pytest.raises(ValueError, match="mood"):
        Profile(platform, quota=10, facets=["mood"])


def test_social_brings_what_followed_people_made_and_friends_enjoyed(platform):
    ids = found(Social(platform, quota=20))
    assert {102, 103, 107} <= set(ids)  # creator 2, whom the user follows
    assert {105, 108} <= set(ids)  # user 3, a friend, liked and watched them
    assert ids[0] == 102  # the newest by a followed creator


def test_social_asks_the_family(platform):
    assert {105, 108} <= set(found(Social(platform, quota=20), user_id=2))


@pytest.mark.parametrize("user_id", [4, 999])
def test_social_of_a_loner_is_empty(platform, user_id):
    assert found(Social(platform, quota=20), user_id) == []


def test_popular_is_by_satisfied_plays_and_fresh_by_upload(platform):
    assert found(Popular(platform, quota=3)) == [109, 108, 107]
    assert found(Fresh(platform, quota=3)) == [100, 101, 102]
    assert Popular(platform, quota=3).recall(A_STRANGER).ids.tolist() == [109, 108, 107]


def test_model_brings_the_nearest_works_and_their_scores(platform):
    vectors = np.eye(10, dtype=np.float32)
    index = ItemIndex.build(platform.works.ids, vectors)
    user = np.linspace(1, 0.1, 10, dtype=np.float32)[None]
    request = A_STRANGER.with_features({"user_vector": user}).with_view(index.pinned())
    candidates = Model(index, quota=3).recall(request)
    assert candidates.ids.tolist() == [100, 101, 102]
    np.testing.assert_allclose(candidates.scores, [1, 0.9, 0.8], rtol=1e-3)


def test_model_leaves_blocked_works_out_and_brings_no_sentinel(platform):
    """Ten works, nine blocked: one is found, not one and two places of id −1 with score −inf."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.block(platform.works.ids[:9])
    request = A_STRANGER.with_features({"user_vector": np.ones((1, 10), np.float32)}).with_view(index.pinned())
    candidates = Model(index, quota=3).recall(request)
    assert candidates.ids.tolist() == [109] and np.isfinite(candidates.scores).all()


def test_model_asks_each_version_with_its_own_user_vector(platform):
    """Works 100 … 104 stay of version 0, 105 … 109 move on: the old vector finds the old, the new one the new."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.upsert(np.arange(105, 110), np.eye(10)[:5], model_version=1)
    users = np.stack([np.linspace(1, 0.1, 10), np.linspace(0.55, 0.1, 10)]).astype(np.float32)
    features = {"user_vector": users, "user_vector_versions": np.array([0, 1])}
    candidates = Model(index, quota=4).recall(A_STRANGER.with_features(features).with_view(index.pinned()))
    assert candidates.ids.tolist() == [100, 101, 102, 103]
    features["user_vector"] = users[::-1]
    candidates = Model(index, quota=4).recall(A_STRANGER.with_features(features).with_view(index.pinned()))
    assert candidates.ids.tolist() == [105, 106, 107, 108]


def test_model_without_a_user_vector_says_which_step_is_missing(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    with pytest.raises(Unavailable, match="user_tower"):
        Model(index, quota=3).recall(A_STRANGER)
