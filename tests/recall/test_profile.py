"""Works like those in a user's history, on a platform small enough to read (tests/conftest.py)."""

import pytest

from karec.recall.profile import Profile
from karec.types import Request


def found(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


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
