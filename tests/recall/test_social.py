"""Works of followed creators, and those that friends and family enjoyed."""

from dataclasses import replace

import numpy as np
import pytest

from karec.platform.table import Table
from karec.recall.social import Social
from karec.types import Request


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


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


@pytest.mark.parametrize("none", [0, -1])
def test_users_without_a_family_are_no_family(platform, none):
    """Code 0 says that there is none, as −1 does: once all such users were asked as if they were one family."""
    users = Table(platform.users.ids, {"family": np.array([7, none, none, none], np.int32)})
    assert found(Social(replace(platform, users=users), quota=20), user_id=2) == []
