"""Items that the user may not see are dropped: of muted creators, for older users, of other regions."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.steps.filters.visible import Visible

IDS = np.arange(100, 110)
MIN_AGE = np.array([0, 0, 18, 18, 16, np.nan, 0, 0, 21, 0], np.float32)
REGION = np.array([-1, 1, 1, 2, 2, -1, 1, 2, -1, 1], np.int32)


@pytest.fixture
def limited_index(platform):
    columns = {"creator_id": platform.works["creator_id"], "min_age": MIN_AGE, "region": REGION}
    return ItemIndex.build(IDS, np.eye(10, dtype=np.float32), columns=columns)


@pytest.fixture
def snapshot(platform):
    """User 1 is 18 and in region 1, user 2 is 15 and in no region, user 3 muted creator 2."""
    columns = {"age": np.array([18, 15, -1, 80]), "region": np.array([1, -1, 2, 2], np.int32)}
    muted = Relation.from_pairs(np.array([2]), np.array([2]), 4)
    relations = {**platform.relations, "muted": muted}
    return replace(platform, users=Table(platform.users.ids, columns), relations=relations)


def test_visible_drops_items_of_muted_creators(snapshot, limited_index, kept):
    step = Visible(limited_index.schema, snapshot)
    assert kept(step, 1, limited_index) == kept(step, 77, limited_index) == IDS.tolist()
    assert kept(step, 3, limited_index) == [100, 101, 104, 105, 106, 108, 109]


def test_visible_drops_items_for_older_users(snapshot, limited_index, kept):
    step = Visible(limited_index.schema, snapshot, min_age="min_age")
    assert kept(step, 1, limited_index) == [100, 101, 102, 103, 104, 105, 106, 107, 109]
    assert kept(step, 2, limited_index) == [100, 101, 105, 106, 107, 109]
    assert kept(step, 77, limited_index) == [100, 101, 105, 106, 107, 109]
    assert kept(step, 4, limited_index) == IDS.tolist()


def test_visible_drops_items_of_other_regions(snapshot, limited_index, kept):
    step = Visible(limited_index.schema, snapshot, region="region")
    assert kept(step, 1, limited_index) == [100, 101, 102, 105, 106, 108, 109]
    assert kept(step, 2, limited_index) == kept(step, 77, limited_index) == [100, 105, 108]


def test_visible_rejects_missing_columns(platform, limited_index):
    with pytest.raises(ValueError, match="the item index has no column 'rating'; it has"):
        Visible(limited_index.schema, platform, min_age="rating")
    with pytest.raises(ValueError, match=r"users have no column 'age'; they have \['family'\]"):
        Visible(limited_index.schema, platform, min_age="min_age")
    with pytest.raises(ValueError, match="users have no column 'region'"):
        Visible(limited_index.schema, platform, region="region")
