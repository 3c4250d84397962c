"""Items of followed creators. In the platform of conftest.py user 1 follows creator 2."""

from dataclasses import replace

import numpy as np
import pytest

from karec.index import ItemIndex
from karec.steps.filters.followed import Followed
from karec.steps.filters.not_followed import NotFollowed
from karec.steps.filters.not_own import NotOwn
from karec.steps.filters.same_as_user import SameAsUser


def test_followed_and_not_followed_keep_complementary_items(platform, index, kept):
    assert kept(Followed(index.schema, platform), 1) == [102, 103, 107]
    not_followed = kept(NotFollowed(index.schema, platform), 1)
    assert not_followed == [100, 101, 104, 105, 106, 108, 109]


@pytest.mark.parametrize("user", [2, 77])
def test_followed_keeps_nothing_if_user_follows_no_creator(platform, index, user, kept):
    assert kept(Followed(index.schema, platform), user) == []
    assert kept(NotFollowed(index.schema, platform), user) == [*range(100, 110)]


def test_filters_by_creator_reject_missing_columns_and_relations(platform, index):
    bare = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    for step in (
        NotOwn,
        lambda schema: Followed(schema, platform),
        lambda schema: NotFollowed(schema, platform),
    ):
        with pytest.raises(ValueError, match="the item index has no column 'creator_id'; it has"):
            step(bare.schema)
    with pytest.raises(ValueError, match="the snapshot has no relation 'follows', it has"):
        Followed(index.schema, replace(platform, relations={}))
    with pytest.raises(ValueError, match=r"users have no column 'tag'; they have \['family'\]"):
        SameAsUser(index.schema, platform, "tag")
