"""Items with the user's own value of a column are kept."""

from dataclasses import replace

import numpy as np

from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.steps.filters.same_as_user import SameAsUser


def test_same_as_user_keeps_items_with_the_users_value(platform, index, kept):
    users = Table(platform.users.ids, {"tag": np.array([1, -1, 0, 2], np.int32)})
    step = SameAsUser(index.schema, replace(platform, users=users), "tag")
    assert kept(step, 1) == [103, 104, 105]
    assert kept(step, 2) == []
    assert kept(step, 77) == []


def test_same_as_user_keeps_nothing_for_users_without_family(platform, kept):
    columns = {"family": np.array([0, 7] * 5, np.int32)}
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)
    users = Table(platform.users.ids, {"family": np.array([0, 7, -1, 0], np.int32)})
    step = SameAsUser(index.schema, replace(platform, users=users), "family")
    assert [kept(step, user, index) for user in (1, 3)] == [[], []]
    assert kept(step, 2, index) == [101, 103, 105, 107, 109]
