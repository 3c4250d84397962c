"""Items that a community enjoys and makes."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.pipeline.types import Request
from karec.steps.shared.segments import PRIOR_SEEN, enjoyed_in, seen_by_segment
from karec.steps.sources.community import Community


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


@pytest.fixture
def grouped(platform):
    """Users 1 and 2 are of community 0, user 3 of 4, user 4 of none. All users watched something."""
    users = Table(platform.users.ids, {"community": np.array([0, 0, 4, -1], np.int32)})
    history = Relation.from_pairs(np.array([0, 1, 1, 2, 3]), np.array([100, 100, 109, 105, 107]), 4)
    skipped = Relation.from_pairs(np.array([0, 0]), np.array([109, 102]), 4)
    return replace(platform, users=users, relations={"history": history, "skipped": skipped})


def test_community_alternates_enjoyed_and_made_items(grouped):
    """Enjoyed: 109 (1 of 2, mostly 1.0 elsewhere) and 100 (2 of 2, .1 elsewhere); made by 1 and 2, newest
    first."""
    seen = seen_by_segment(grouped, "community")
    rate = {(int(s), int(r)): x for s, r, x in zip(seen.segment, seen.row, seen.rate, strict=True)}
    popular = {0: (10 + 20 * 0.55) / 120, 9: (100 + 20 * 0.55) / 120}
    assert rate[0, 0] == pytest.approx((2 + PRIOR_SEEN * popular[0]) / (2 + PRIOR_SEEN))
    assert rate[0, 9] == pytest.approx((1 + PRIOR_SEEN * popular[9]) / (2 + PRIOR_SEEN))
    assert set(rate) == {(0, 0), (0, 2), (0, 9), (4, 5)}, "users without a community count in none"
    assert ids_of(Community(grouped, quota=20)) == [109, 100, 101, 102, 103, 106, 107]
    assert ids_of(Community(grouped, quota=2)) == [109, 100]
    assert ids_of(Community(grouped, quota=20), user_id=3) == [105, 104, 108]


@pytest.mark.parametrize("user_id", [4, 999])
def test_community_is_empty_for_users_without_community(grouped, user_id):
    assert ids_of(Community(grouped, quota=20), user_id) == []


def test_community_leaves_out_items_that_were_only_skipped(grouped):
    lists = enjoyed_in(grouped, "community")
    assert (
        lists.rows_of(0, 9).tolist() == [9, 0]
        and lists.rows_of(4, 9).tolist() == [5]
        and not len(lists.rows_of(-1, 9))
    )


def test_community_is_empty_without_users(grouped):
    no_users = Table(np.empty(0, np.int64), {"community": np.empty(0, np.int32)})
    none = Relation(np.zeros(1, np.int64), np.empty(0, np.int64))
    assert ids_of(Community(replace(grouped, users=no_users, relations={"history": none}), quota=20)) == []


def test_community_names_the_missing_column(platform):
    with pytest.raises(
        ValueError, match=r"needs the users' column 'community'; columns are .* Publishing computes it"
    ):
        Community(platform, quota=3)


def test_community_returns_enjoyed_items_without_creators(grouped):
    works = Table(grouped.works.ids, {n: c for n, c in grouped.works.columns.items() if n != "creator_id"})
    assert ids_of(Community(replace(grouped, works=works), quota=20)) == [109, 100]
