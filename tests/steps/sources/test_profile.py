"""Items like those in a user's history, on a small platform (tests/conftest.py) and on random ones."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import plain_profile
from random_platform import USERS, platforms

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.online.changed_items import ChangedItems
from karec.online.view import OnlineView
from karec.pipeline.types import Request
from karec.steps.sources.profile import Profile


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_profile_returns_items_of_values_in_the_history(platform):
    history = {"history": 1.0}  # alone: the user also made works, which is evidence too
    # songs 50 and 51, best first
    by_song = ids_of(Profile(platform, quota=10, facets=["song_id"], evidence=history))
    assert set(by_song) == {100, 103, 106, 109, 101, 104, 107}
    assert by_song[:2] == [107, 109]  # the song of the later work weighs more, so it comes first
    by_creator = ids_of(Profile(platform, quota=10, facets=["creator_id"], evidence=history))
    assert set(by_creator) == {100, 101, 106, 109, 104, 105, 108}


def test_profile_weighs_each_kind_of_evidence(platform):
    """Only user 4 has evidence: liked an item of song 52, searched for song 51, and made one of song 50."""
    lists = {"liked": [102], "searched": [51]}
    relations = {
        name: Relation.from_pairs(np.full(len(of), 3), np.array(of), 4) for name, of in lists.items()
    }
    works = Table(platform.works.ids, {**platform.works.columns, "creator_id": np.array([4] + [9] * 9)})
    alone = replace(platform, works=works, relations=relations)
    songs = {"liked": {102, 105, 108}, "searched": {101, 104, 107}, "sung": {100, 103, 106, 109}}
    for kind, expected in songs.items():
        assert set(ids_of(Profile(alone, 10, ["song_id"], evidence={kind: 0.5}), user_id=4)) == expected
    assert ids_of(Profile(alone, 10, ["song_id"], evidence={"liked": 0.0, "history": 1.0}), user_id=4) == []
    heavier = ids_of(Profile(alone, 10, ["song_id"], evidence={"liked": 1.0, "searched": 3.0}), user_id=4)
    assert heavier[0] == 107, "the song with more weight is first"
    assert len(ids_of(Profile(alone, 10, ["song_id"]), user_id=4)) == 10, "all evidence counts by default"
    by_tag = ids_of(Profile(alone, 10, ["tag"], evidence={"searched": 1.0}), user_id=4)
    assert by_tag == [], "a searched song is no evidence of tags"


def since(platform, ids, **columns):
    """Returns the changes after ``platform``: the items ``ids`` were added, one minute apart."""
    values = {name: np.zeros(len(ids), column.dtype) for name, column in platform.works.columns.items()}
    values |= {name: np.array(column) for name, column in columns.items()}
    values["upload_ms"] = platform.time_ms + 60_000 * np.arange(len(ids))
    nothing, no_users = np.empty(0, np.int64), platform.users.take(np.empty(0, np.int64))
    came = replace(
        platform, works=Table(np.array(ids), values), users=no_users, relations={}, user_scene_counters=None
    )
    return OnlineView(
        None, ChangedItems(came, came, nothing, nothing, np.empty((0, 0)), np.empty((0, 0), np.int64)), ()
    )


def test_profile_gives_uploads_a_quarter_of_each_share(platform):
    source = Profile(platform, 8, ["song_id"], evidence={"history": 1.0})
    before = ids_of(source)
    live = since(platform, np.arange(900, 912), song_id=[50, 51, 77] * 4)
    now = source.recall(Request(user_id=1, online=live)).ids.tolist()
    new = [work for work in now if work >= 900]
    assert now[: len(new)] == new and now[len(new) :] == before[: 8 - len(new)]
    of_song = {song: [work for work in new if (work - 900) % 3 == at] for at, song in enumerate((50, 51, 77))}
    assert of_song[77] == [], "no user has evidence of this song"
    for song, at in ((50, 0), (51, 1)):
        newest = [work for work in range(911, 899, -1) if (work - 900) % 3 == at]
        assert of_song[song] == newest[: len(of_song[song])] and 1 <= len(of_song[song]) <= 2
    assert (
        source.recall(Request(user_id=1, online=since(platform, np.array([900]), song_id=[77]))).ids.tolist()
        == before
    )
    assert len(source.recall(Request(user_id=999, online=live))) == 0


def test_profile_ignores_unknown_tags(platform):
    works = Table(platform.works.ids, {**platform.works.columns, "tag": np.array([-1, 0] * 5, np.int32)})
    source = Profile(replace(platform, works=works), quota=10, facets=["tag"], evidence={"history": 1.0})
    assert ids_of(source) == [], "user 1 watched 100 and 104, which have no value"
    made = Profile(replace(platform, works=works), quota=10, facets=["tag"])
    assert set(ids_of(made)) == {101, 103, 105, 107, 109}, "user 1 made 101 and 109"


@given(
    platforms,
    st.sampled_from([*USERS.tolist(), 999]),
    st.integers(1, 40),
    st.lists(st.sampled_from(["song_id", "creator_id", "tag", "type"]), min_size=1, max_size=3, unique=True),
    st.integers(1, 4),
    st.sampled_from([1.0, 0.5]),
)
def test_profile_divides_the_quota_by_facets_and_weights(
    platform, user_id, quota, facets, keys_per_facet, decay
):
    source = Profile(platform, quota, facets, keys_per_facet, decay)
    candidates = source.recall(Request(user_id))
    assert candidates.ids.tolist() == plain_profile(platform, user_id, quota, facets, keys_per_facet, decay)
    assert candidates.ids.dtype == np.int64 and not candidates.scores.any()


def test_profile_defaults_to_20_keys_and_decay_0_95(platform):
    plain = Profile(platform, quota=7)
    assert (plain.facets, plain.keys_per_facet, plain.decay) == (("song_id", "creator_id", "tag"), 20, 0.95)
    assert plain.evidence == dict.fromkeys(["history", "liked", "sung", "searched"], 1.0)
    assert ids_of(plain) == plain_profile(platform, 1, 7, ["song_id", "creator_id", "tag"], 20, 0.95)
    works = Table(platform.works.ids, {**platform.works.columns, "era": np.arange(10) % 2})
    assert Profile(replace(platform, works=works), quota=7).facets == ("song_id", "creator_id", "tag", "era")


def test_profile_breaks_ties_by_the_lowest_value(platform):
    """Forty songs are watched once each. Unstable sorts reorder ties above 16 entries."""
    columns = {name: np.resize(column, 40) for name, column in platform.works.columns.items()}
    works = Table(np.arange(40), {**columns, "song_id": np.arange(40)[::-1]})
    history = Relation.from_pairs(np.zeros(40, int), np.random.default_rng(0).permutation(40), 4)
    everything = replace(platform, works=works, relations={"history": history})
    plain = Profile(everything, 3, ["song_id"], keys_per_facet=3, decay=1.0, evidence={"history": 1.0})
    assert ids_of(plain) == [39, 38, 37]


@pytest.mark.parametrize("user_id", [4, 999])
def test_profile_is_empty_for_unknown_users(platform, user_id):
    assert ids_of(Profile(platform, quota=10), user_id) == []
    without_relations = replace(platform, relations={})
    assert ids_of(Profile(without_relations, quota=10, evidence={"history": 1.0})) == [], (
        "a platform without histories"
    )


SETTINGS = "profile needs quota > 0, keys_per_facet > 0 and 0 < decay ≤ 1, got "


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"facets": ["mood", "tag"]},
            "facets ['mood'] are not columns of the works; columns are ['creator_id', 's",
        ),
        (
            {"facets": ["song"]},
            "facets ['song'] are not columns of the works (did you mean 'song_id'?); columns are",
        ),
        ({"quota": 0}, SETTINGS + "0, 20 and 0.95"),
        ({"keys_per_facet": 0}, SETTINGS + "9, 0 and 0.95"),
        (
            {"facets": []},
            "the source profile needs facets, columns of works whose values a user may prefer; columns are",
        ),
        ({"decay": 0.0}, SETTINGS + "9, 20 and 0.0"),
        ({"decay": 1.5}, SETTINGS + "9, 20 and 1.5"),
        (
            {"evidence": {"watched": 1.0}},
            "evidence 'watched' is unknown (did you mean 'searched'?); kinds are ['history', ",
        ),
        ({"evidence": {"like": 1.0}}, "evidence 'like' is unknown (did you mean 'liked'?); kinds are"),
        ({"evidence": {"liked": -1.0}}, "evidence liked = -1.0"),
    ],
)
def test_profile_rejects_wrong_settings_by_name(platform, settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Profile(platform, **{"quota": 9, "facets": ["tag"], **settings})
