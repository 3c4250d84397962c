"""Works of followed creators, and those that friends and family enjoyed."""

import pytest

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
