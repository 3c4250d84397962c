"""Popular and fresh works: the same for everybody."""

from karec.recall.popular import Fresh, Popular
from karec.types import Request

A_STRANGER = Request(user_id=999)


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_popular_is_by_satisfied_plays_and_fresh_by_upload(platform):
    assert found(Popular(platform, quota=3)) == [109, 108, 107]
    assert found(Fresh(platform, quota=3)) == [100, 101, 102]
    assert Popular(platform, quota=3).recall(A_STRANGER).ids.tolist() == [109, 108, 107]
