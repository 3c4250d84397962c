"""Items that friends made, and items that friends and family enjoyed."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plain_recall import plain_social
from random_platform import USERS, platforms

from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.sources.social import Social


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


def test_social_returns_items_that_friends_made_and_enjoyed(platform):
    """Alternates 104, 105, 108 of the friend 3, who liked 105 and watched 108. Creator 2 is followed but
    not a friend."""
    assert ids_of(Social(platform, quota=20)) == [104, 105, 108]


@given(
    platforms,
    st.sampled_from([*USERS.tolist(), 999]),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sets(st.sampled_from(["history", "liked", "follows", "friends"])),
)
def test_social_equals_a_walk_over_friends_and_family(platform, user_id, quota, people, per_person, absent):
    relations = {name: relation for name, relation in platform.relations.items() if name not in absent}
    platform = replace(platform, relations=relations)
    assume("family" in platform.users.columns or "friends" not in absent)
    candidates = Social(platform, quota, people, per_person).recall(Request(user_id))
    assert candidates.ids.tolist() == plain_social(platform, user_id, quota, people, per_person)
    assert candidates.ids.dtype == np.int64 and not candidates.scores.any()


@pytest.mark.parametrize("relation", ["liked", "history"])
def test_social_puts_latest_items_of_family_first(platform, relation):
    enjoyed = Relation.from_pairs(np.array([2, 2, 2]), np.array([105, 101, 109]), 4)
    alone = replace(platform, relations={relation: enjoyed})
    assert ids_of(Social(alone, quota=20), user_id=2) == [109, 101, 105]
    assert ids_of(Social(alone, quota=20, per_person=1), user_id=2) == [109]


def test_social_reads_the_family(platform):
    assert ids_of(Social(platform, quota=20), user_id=2) == [105, 108]


@pytest.mark.parametrize("user_id", [4, 999])
def test_social_is_empty_without_people(platform, user_id):
    assert ids_of(Social(platform, quota=20), user_id) == []


@pytest.mark.parametrize("none", [0, -1])
def test_social_ignores_users_without_a_family(platform, none):
    """Codes 0 and −1 mean no family. Users with code 0 were once treated as one family."""
    users = Table(platform.users.ids, {"family": np.array([7, none, none, none], np.int32)})
    assert ids_of(Social(replace(platform, users=users), quota=20), user_id=2) == []


def test_social_is_empty_for_unknown_users(platform):
    users = Table(platform.users.ids, {"family": np.full(4, 7, np.int32)})
    assert ids_of(Social(replace(platform, users=users), quota=20), user_id=999) == []


def test_social_ignores_unknown_friends_and_the_user(platform):
    """The graph has a loop and an unknown user: neither the user's own items nor an error result."""
    friends = Relation.from_pairs(np.array([0, 0, 0]), np.array([1, 777, -5]), 4)
    alone = replace(platform, relations={**platform.relations, "friends": friends})
    assert ids_of(Social(alone, quota=20), user_id=1) == []


def test_social_rejects_a_platform_without_people(platform):
    message = (
        "the source social needs a relation friends, or a column family of users; relations are ['liked']"
    )
    without_families = replace(platform, users=Table(platform.users.ids, {}), meaning=Meaning())
    alone = replace(without_families, relations={"liked": platform.relations["liked"]})
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Social(alone, quota=1)
    Social(replace(without_families, relations={"friends": platform.relations["friends"]}), quota=1)
    Social(replace(alone, users=platform.users), quota=1)
    columns = {name: column for name, column in platform.works.columns.items() if name != "creator_id"}
    nothing_made = replace(platform, works=Table(platform.works.ids, columns))
    assert ids_of(Social(nothing_made, quota=9)) == [105, 108], (
        "items that the friend enjoyed are found without creators"
    )


@pytest.mark.parametrize("setting", ["quota", "people", "per_person"])
def test_social_rejects_settings_of_zero(platform, setting):
    settings = {"quota": 1, "people": 1, "per_person": 1, setting: 0}
    message = "quota, people and per_person must be positive, got {quota}, {people} and {per_person}"
    with pytest.raises(ValueError, match="^" + re.escape(message.format(**settings)) + "$"):
        Social(platform, **settings)
