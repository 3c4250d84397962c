"""Tests of communities of users and their ids."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.catalog.relation import Relation
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.refresh.communities import _edges, communities, ignored_pairs, keep_former_ids

IDS = np.arange(100, 112)  # twelve users: two rings of five, and two who know nobody


def snapshot(**relations):
    works = Table(np.arange(9), {"creator_id": IDS[:9]})
    built = {
        name: Relation.from_pairs(
            np.array([a for a, _ in pairs], int), np.array([b for _, b in pairs], int), len(IDS)
        )
        for name, pairs in relations.items()
    }
    return Snapshot(1, works, Table(IDS, {}), built, {})


def rings(users=IDS):
    return [
        (5 * ring + i, int(users[5 * ring + (i + step) % 5]))
        for ring in (0, 1)
        for i in range(5)
        for step in (1, 2)
    ]


@pytest.mark.parametrize("relation", ["friends", "follows"])
def test_communities_contain_linked_users_and_no_others(relation):
    result = communities(snapshot(**{relation: rings()}))
    assert result.dtype == np.int32
    assert len(set(result[:5].tolist())) == len(set(result[5:10].tolist())) == 1 and result[0] != result[5]
    assert result[10:].tolist() == [-1, -1]


def test_users_with_common_items_share_a_community():
    watched = [(user, 1 + user // 5) for user in range(10)]
    result = communities(snapshot(history=watched))
    assert len(set(result[:5].tolist())) == len(set(result[5:10].tolist())) == 1 and result[0] != result[5]


def test_loops_and_unknown_users_are_ignored_and_counted():
    loops_and_strangers = snapshot(friends=[(0, 100), (1, 777), (2, -3)])
    assert communities(loops_and_strangers) is None
    assert ignored_pairs(loops_and_strangers) == {"loops": 1, "unknown": 2}
    assert ignored_pairs(snapshot(friends=rings(), follows=[(3, 103), (4, 103)])) == {
        "loops": 1,
        "unknown": 0,
    }
    assert communities(snapshot()) is None
    alone = replace(snapshot(follows=rings()), works=Table(np.arange(9), {}))
    assert communities(alone) is None, "whom users follow are works' creators, who are not known here"


def test_edge_weight_adds_links_and_discounts_popular_items():
    pairs, weights = _edges(snapshot(friends=[(0, 101), (1, 100)], follows=[(0, 101)]))
    assert pairs.tolist() == [[0, 1]] and weights.tolist() == [3.0]
    pairs, weights = _edges(snapshot(history=[(user, 1) for user in (0, 1, 2)] + [(0, 2), (1, 2)]))
    assert dict(zip(map(tuple, pairs.tolist()), weights.tolist(), strict=True)) == {
        (0, 1): 1.5,
        (0, 2): 0.5,
        (1, 2): 0.5,
    }


def test_communities_are_reproducible():
    rng = np.random.default_rng(0)
    friends = [(int(a), int(IDS[b])) for a, b in rng.integers(0, 12, (40, 2))]
    first = communities(snapshot(friends=friends))
    for _ in range(3):
        np.testing.assert_array_equal(communities(snapshot(friends=friends)), first)


def test_communities_keep_former_ids_if_rows_move():
    """The former snapshot has ids 7 and 3 and other rows. One user was added and one removed."""
    before = snapshot(friends=rings())
    former_users = np.append(IDS[:11][::-1], 500)
    communities_before = np.array([-1, 3, 3, 3, 3, 3, 7, 7, 7, 7, 7, 3])
    former = replace(before, users=Table(former_users, {"community": communities_before.astype(np.int32)}))
    assert communities(before, former).tolist() == [7] * 5 + [3] * 5 + [-1, -1]
    assert communities(before, before).max() == 1, "a former snapshot without communities says nothing"


def test_community_ids_of_earlier_publications_are_not_reused():
    """The highest id, 9, was used before the former publication."""
    before = snapshot(friends=rings())
    strangers = replace(before, users=Table(np.arange(12), {"community": np.full(12, 4, np.int32)}))
    for former in (None, before, strangers):
        assert set(communities(before, former, highest_id=9)[:10].tolist()) == {10, 11}


def test_largest_overlap_keeps_the_id_and_others_get_new_ids():
    result = np.array([0, 0, 0, 1, 1, 2, -1])
    former = np.array([4, 4, 9, 9, 4, -1, 9])
    assert keep_former_ids(result, former, highest_id=20).tolist() == [4, 4, 4, 9, 9, 21, -1]
    split = keep_former_ids(np.array([0, 0, 1, 1, 1]), np.full(5, 6), highest_id=6)
    assert split.tolist() == [7, 7, 6, 6, 6], "of two parts of a former community the larger one keeps its id"


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 6)), min_size=1, max_size=30))
def test_keep_former_ids_keeps_groups_and_ids_are_unique(pairs):
    dense = {group: at for at, group in enumerate(sorted({g for g, _ in pairs} - {-1}))}
    result = np.array([dense.get(group, -1) for group, _ in pairs])
    former = np.array([before for _, before in pairs])
    named = keep_former_ids(result, former, highest_id=6)
    assert len({(a, b) for a, b in zip(result.tolist(), named.tolist(), strict=True)}) == len(
        set(result.tolist())
    )
    assert ((named == -1) == (result == -1)).all() and len(set(named.tolist())) == len(set(result.tolist()))
