"""New items of followed creators."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import plain_follow
from random_platform import USERS, platforms

from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.sources.follow import Follow


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


@given(platforms, st.sampled_from([*USERS.tolist(), 999]), st.integers(1, 40), st.integers(1, 6))
def test_follow_equals_a_walk_over_followed_creators(platform, user_id, quota, per_creator):
    candidates = Follow(platform, quota, per_creator).recall(Request(user_id))
    assert candidates.ids.tolist() == plain_follow(platform, user_id, quota, per_creator)
    assert candidates.ids.dtype == np.int64 and not candidates.scores.any()


def test_follow_alternates_creators_newest_first(platform):
    follows = Relation.from_pairs(np.zeros(3, int), np.array([2, 3, 77]), 4)
    both = replace(platform, relations={"follows": follows})
    assert ids_of(Follow(both, quota=20)) == [104, 102, 105, 103, 108, 107]
    assert ids_of(Follow(both, quota=20, per_creator=1)) == [104, 102]
    assert ids_of(Follow(both, quota=3)) == [104, 102, 105]


@pytest.mark.parametrize("user_id", [4, 999])
def test_follow_is_empty_without_followed_creators(platform, user_id):
    assert ids_of(Follow(platform, quota=20), user_id) == []


def test_follow_rejects_a_platform_without_follows(platform):
    without_follows = replace(platform, relations={}, meaning=Meaning())
    with pytest.raises(
        ValueError, match=r"^the source follow needs creators of works, and users who follow them; columns"
    ):
        Follow(without_follows, quota=1)
    assert ids_of(Follow(replace(without_follows, meaning=Meaning(followed=("follow",))), quota=1)) == [], (
        "no user follows a creator yet"
    )
    works = Table(platform.works.ids, {"tag": platform.works["tag"]})
    message = r"columns of works are ['tag'], relations are ['history', 'liked', 'follows', 'friends']"
    with pytest.raises(ValueError, match=re.escape(message)):
        Follow(replace(platform, works=works), quota=1)


@pytest.mark.parametrize("settings", [(0, 1), (1, 0)])
def test_follow_rejects_settings_of_zero(platform, settings):
    with pytest.raises(
        ValueError, match="quota and per_creator must be positive, got {} and {}$".format(*settings)
    ):
        Follow(platform, *settings)
