"""Filters by who made an item and who asks, on the platform of conftest.py: user 1 follows creator 2."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.followed import Followed
from karec.steps.filters.is_open import IsOpen
from karec.steps.filters.not_followed import NotFollowed
from karec.steps.filters.not_own import NotOwn
from karec.steps.filters.same_as_user import SameAsUser


@pytest.fixture
def index(platform):
    columns = {"creator_id": platform.works["creator_id"], "tag": platform.works["tag"]}
    return ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)


def kept(step, index, user, ids):
    """The ids that ``step`` keeps of ``ids`` for ``user``."""
    with index.pinned() as view:
        candidates = Candidates.from_ids(np.array(ids)).with_rows(view.lookup(ids))
        keep = step.keep(Request(user).with_view(view), candidates)
    return candidates.ids[keep].tolist()


EVERYTHING = [*range(100, 110), 999]  # 999 is in no index


def test_followed_keeps_works_of_followed_creators_and_not_followed_the_others(platform, index):
    assert kept(Followed(index.schema, platform), index, 1, EVERYTHING) == [102, 103, 107]
    assert kept(NotFollowed(index.schema, platform), index, 1, EVERYTHING) == [
        100,
        101,
        104,
        105,
        106,
        108,
        109,
    ]


@pytest.mark.parametrize("user", [2, 77])
def test_who_follows_nobody_or_is_unknown_keeps_nothing_of_followed_creators(platform, index, user):
    assert kept(Followed(index.schema, platform), index, user, EVERYTHING) == []
    assert kept(NotFollowed(index.schema, platform), index, user, EVERYTHING) == EVERYTHING[:-1]


def test_nobody_gets_an_own_work(index):
    assert kept(NotOwn(index.schema), index, 3, EVERYTHING) == [100, 101, 102, 103, 106, 107, 109]


def test_as_user_keeps_items_with_the_users_value_and_none_where_it_is_not_known(platform, index):
    users = Table(platform.users.ids, {"tag": np.array([1, -1, 0, 2], np.int32)})
    step = SameAsUser(index.schema, replace(platform, users=users), "tag")
    assert kept(step, index, 1, EVERYTHING) == [103, 104, 105]
    assert kept(step, index, 2, EVERYTHING) == []
    assert kept(step, index, 77, EVERYTHING) == []


def test_no_family_is_nobodys_family(platform):
    columns = {"family": np.array([0, 7] * 5, np.int32)}
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)
    users = Table(platform.users.ids, {"family": np.array([0, 7, -1, 0], np.int32)})
    step = SameAsUser(index.schema, replace(platform, users=users), "family")
    assert [kept(step, index, user, EVERYTHING) for user in (1, 3)] == [[], []]
    assert kept(step, index, 2, EVERYTHING) == [101, 103, 105, 107, 109]


def test_what_nobody_is_known_to_have_made_is_no_strangers_own(platform):
    columns = {"creator_id": np.array([-1, 3] * 5)}
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)
    assert kept(NotOwn(index.schema), index, -1, EVERYTHING) == EVERYTHING[:-1], (
        "−1 is the number of a name that is unknown"
    )


def test_an_item_is_on_until_it_is_blocked_and_again_when_it_is_not(index):
    index.block([101, 105])
    assert kept(IsOpen(index.schema), index, 1, EVERYTHING) == [100, 102, 103, 104, 106, 107, 108, 109]
    index.unblock([101])
    assert kept(IsOpen(index.schema), index, 1, EVERYTHING) == [100, 101, 102, 103, 104, 106, 107, 108, 109]


def test_what_a_filter_reads_must_be_there_when_it_is_built(platform, index):
    bare = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    for step in (
        NotOwn,
        lambda schema: Followed(schema, platform),
        lambda schema: NotFollowed(schema, platform),
    ):
        with pytest.raises(ValueError, match="the item index has no column 'creator_id'; it has"):
            step(bare.schema)
    with pytest.raises(
        ValueError, match="nobody knows who follows whom: the snapshot has no relation 'follows'"
    ):
        Followed(index.schema, replace(platform, relations={}))
    with pytest.raises(ValueError, match=r"users have no column 'tag'; they have \['family'\]"):
        SameAsUser(index.schema, platform, "tag")
