"""The merger keeps its quotas and limit exactly."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_merge import plain_merge

from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.steps.sources.merge import Merge

sources = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=12, unique_by=lambda pair: pair[0]
        ),
        st.integers(1, 8),
    ),
    max_size=4,
)


def unpacked(merged):
    return merged.value, merged.notes


@given(sources, st.integers(1, 30))
def test_merge_keeps_quotas_and_limit(sources, limit):
    result, quotas = [source for source, _ in sources], [quota for _, quota in sources]
    parts = [
        Candidates.from_ids([work for work, _ in part], np.array([score for _, score in part]))
        for part in result
    ]
    merged, notes = unpacked(Merge(quotas, limit).merge(Request(1), parts))
    triples = zip(merged.ids.tolist(), merged.scores.tolist(), merged.sources.tolist(), strict=True)
    assert list(triples) == plain_merge(result, quotas, limit)
    assert merged.rows.tolist() == [-1] * len(merged), "a hydrator looks up the rows"
    assert notes["sole"] == [
        sum(bits == 1 << c for *_, bits in plain_merge(result, quotas, limit)) for c in range(len(result))
    ]


@pytest.mark.parametrize(("quotas", "limit"), [([1, 0], 1), ([-1], 1), ([1], 0), ([1], -1)])
def test_merge_rejects_quotas_and_limits_of_zero(quotas, limit):
    with pytest.raises(
        ValueError, match=re.escape(f"quotas and the limit must be positive, got {quotas} and {limit}") + "$"
    ):
        Merge(quotas, limit)


def test_merge_copies_its_quotas():
    quotas = [2]
    merger = Merge(quotas, 9)
    quotas[0] = 5
    assert merger.limit == 9 and len(merger.merge(Request(1), [Candidates.from_ids(np.arange(9))]).value) == 2


def test_merge_keeps_min_items_of_each_source():
    parts = [
        Candidates.from_ids(np.arange(8)),
        Candidates.from_ids(np.array([1, 100])),
        Candidates.from_ids(np.arange(200, 209)),
    ]
    merged, _ = unpacked(Merge([8, 8, 9], 6, min_items=[0, 2, 2]).merge(Request(1), parts))
    assert merged.ids.tolist() == [0, 1, 100, 200, 201, 2], (
        "item 1 is also of the second source, so one more fits"
    )
    assert merged.sources.tolist() == [1, 3, 2, 4, 4, 1]


def test_merge_leaves_out_consumed_items(platform):
    """User 1 watched 100 and 104."""
    merger = Merge([3], 3, consumed=["history"], snapshot=platform)
    of = {
        user: merger.merge(Request(user), [Candidates.from_ids(np.arange(100, 110))]).value.ids.tolist()
        for user in (1, 999)
    }
    assert of == {1: [101, 102, 103], 999: [100, 101, 102]}
    index = ItemIndex.build(np.arange(102, 108), np.ones((6, 2)))
    with index.pinned() as view:
        for user, works in of.items():
            merged = merger.merge(Request(user, view=view), [Candidates.from_ids(np.arange(100, 110))]).value
            assert merged.ids.tolist() == works


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_items": [4, 0]}, "min_items of a source is 4, expected 0 … 3, its quota"),
        ({"min_items": [-1, 0]}, "min_items of a source is -1, expected 0 … 3, its quota"),
        (
            {"min_items": [3, 2]},
            "min_items of the sources sum to 5, above limits.recall = 4: make them smaller",
        ),
        (
            {"consumed": ["histroy"]},
            "consumed contains 'histroy' (did you mean 'history'?); relations of items are",
        ),
        ({"consumed": ["follows"]}, "consumed contains 'follows'; relations of items are"),
    ],
)
def test_merge_rejects_wrong_min_items_and_relations(platform, settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Merge([3, 3], 4, snapshot=platform, **settings)


def test_merge_gives_items_their_rows_in_the_view():
    index = ItemIndex.build(np.arange(10, 20), np.ones((10, 2)))
    older = index.lookup([17])
    index.block([19])  # another generation
    with index.pinned() as view:
        here = view.lookup([12, 11])
        parts = [
            Candidates.from_ids(np.array([15, 99])),
            Candidates.from_ids(np.array([12, 11])).with_rows(here),
            Candidates.from_ids(np.array([17, 12])).with_rows(older.repeat(2)),
        ]
        merged = Merge([5, 5, 5], 9).merge(Request(1, view=view), parts).value
        assert merged.ids.tolist() == [15, 99, 12, 11, 17]
        assert merged.rows.tolist() == view.lookup(merged.ids).tolist() and view.has_rows(merged.rows)
        assert merged.rows.tolist()[1] == -1, "the index does not contain it"
        nowhere = Merge([5, 5, 5], 9).merge(Request(1), parts).value
        assert nowhere.ids.tolist() == merged.ids.tolist() and nowhere.rows.tolist() == [-1] * 5


@given(sources, st.integers(1, 30), st.sets(st.integers(0, 30), max_size=12))
def test_merge_by_rows_equals_merge_by_ids(sources, limit, known):
    result, quotas = [source for source, _ in sources], [quota for _, quota in sources]
    parts = [
        Candidates.from_ids([work for work, _ in part], np.array([score for _, score in part]))
        for part in result
    ]
    merger = Merge(quotas, limit)
    index = ItemIndex.build(np.array(sorted(known), np.int64), np.ones((len(known), 2)))
    without = merger.merge(Request(1), parts)
    with index.pinned() as view:
        merged = merger.merge(Request(1, view=view), parts)
    for name in ("ids", "scores", "sources"):
        assert getattr(merged.value, name).tolist() == getattr(without.value, name).tolist()
    assert merged.notes == without.notes
