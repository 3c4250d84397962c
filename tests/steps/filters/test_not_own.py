"""The user's own items are dropped."""

import numpy as np

from karec.index import ItemIndex
from karec.steps.filters.not_own import NotOwn


def test_not_own_drops_items_made_by_the_user(index, kept):
    assert kept(NotOwn(index.schema), 3) == [100, 101, 102, 103, 106, 107, 109]


def test_not_own_keeps_items_of_unknown_creators(platform, kept):
    columns = {"creator_id": np.array([-1, 3] * 5)}
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)
    assert kept(NotOwn(index.schema), -1, index) == [*range(100, 110)]  # −1: an unknown name
