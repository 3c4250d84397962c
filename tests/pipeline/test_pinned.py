"""Pinned candidates: selectors with a k of their own do not drop them, filters and the block list do."""

import numpy as np
import pytest
from four_works import IDS, four_works
from hypothesis import given
from hypothesis import strategies as st

from karec.pipeline.checks import merge
from karec.pipeline.stage import Stage
from karec.pipeline.step import Filter, Selector
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.selectors.inner_product import InnerProduct
from karec.steps.selectors.top_k import TopK
from karec.steps.sources.merge import Merge


def pinned(ids, pinned_ids, scores=None):
    ids = np.array(ids)
    return Candidates.from_ids(ids, scores).with_pinned(np.isin(ids, pinned_ids))


def run(candidates, *steps, request=None):
    return Stage("rank", steps).run(request or Request(1, k=2), candidates).candidates


def test_candidates_keep_pinned_when_taken():
    taken = pinned([5, 6, 7], [6]).take(np.array([1, 0]))
    assert taken.pinned.tolist() == [True, False]
    assert Candidates.from_ids(np.arange(3)).take(np.array([1])).pinned is None


def test_pinned_of_wrong_length_is_refused():
    with pytest.raises(ValueError, match="pinned has shape"):
        Candidates.from_ids(np.arange(3)).with_pinned(np.ones(2, bool))


def test_merged_item_is_pinned_if_any_source_pins_it():
    parts = [Candidates.from_ids(np.array([1, 2])), pinned([2, 3], [2, 3])]
    merger = Merge([10, 10], 10)
    merged, _ = merge(merger, Request(1), parts)
    assert dict(zip(merged.ids.tolist(), merged.pinned.tolist(), strict=True)) == {1: False, 2: True, 3: True}
    assert merge(merger, Request(1), parts[:1] * 2)[0].pinned is None


def test_selector_with_own_k_keeps_pinned_in_the_last_places():
    candidates = pinned([1, 2, 3, 4, 5], [4, 5], np.array([5.0, 4, 3, 2, 1]))
    assert run(candidates, TopK(3)).ids.tolist() == [1, 4, 5]
    assert run(candidates, TopK(1)).ids.tolist() == [4]
    assert run(candidates, TopK(9)).ids.tolist() == [1, 2, 3, 4, 5]


def test_selector_with_the_requests_k_drops_pinned():
    candidates = pinned([1, 2, 3], [3], np.array([5.0, 4, 3]))
    assert run(candidates, TopK()).ids.tolist() == [1, 2]


class Scores(Selector):
    gives = ("scores",)
    name = "scores"

    def __init__(self, indices, scores, k):
        self.indices, self.scores, self.k = np.array(indices, int), np.array(scores, np.float32), k

    def select(self, request, candidates):
        return Selection(self.indices, self.scores)


def test_added_pinned_candidate_has_the_lowest_score_of_the_selector():
    candidates = pinned([1, 2, 3], [3], np.array([5.0, 4, 3]))
    chosen = run(candidates, Scores([1, 0], [9.0, 8.0], 3))
    assert chosen.ids.tolist() == [2, 1, 3] and chosen.scores.tolist() == [9, 8, 8]
    chosen = run(candidates, Scores([], [], 3))
    assert chosen.ids.tolist() == [3] and chosen.scores.tolist() == [3]


class DropsOdd(Filter):
    name = "drops_odd"

    def keep(self, request, candidates):
        return candidates.ids % 2 == 0


def test_filter_drops_pinned():
    assert run(pinned([1, 2, 3], [3]), DropsOdd(), TopK(2)).ids.tolist() == [2]


def test_pinned_candidate_that_the_index_blocks_or_lacks_stays_out():
    index = four_works()
    index.block(IDS[:1])
    ids = np.append(IDS, 99)
    with index.pinned() as view:
        request = Request(1, view=view).with_features({"user_vector": np.ones((1, 3), np.float32)})
        scores = np.array([0, 1, 9, 8, 0.5])
        candidates = pinned(ids, [*IDS[:2].tolist(), 99], scores).with_rows(view.lookup(ids))
        for selector in (InnerProduct(index.schema, 2), TopK(2)):
            chosen = run(candidates, selector, request=request)
            assert len(chosen) == 2 and set(chosen.ids.tolist()) & {*IDS[:2].tolist(), 99} == {int(IDS[1])}


def test_pinned_candidate_without_a_row_is_looked_up_by_id():
    index = four_works()
    index.block(IDS[:1])
    candidates = pinned(IDS, IDS[:2], np.array([0.0, 1, 9, 8]))
    with index.pinned() as view:
        chosen = run(candidates, TopK(2), request=Request(1, view=view))
    assert set(chosen.ids.tolist()) == {int(IDS[1]), int(IDS[2])}


def test_is_open_is_false_for_blocked_and_unknown_items():
    index = four_works()
    index.block(IDS[:1])
    with index.pinned() as view:
        assert view.is_open(ids=np.append(IDS, 99)).tolist() == [False, True, True, True, False]
        assert view.is_open(rows=view.lookup(IDS[:2])).tolist() == [False, True]


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=12),
    st.lists(st.integers(0, 30), unique=True, max_size=4),
    st.data(),
)
def test_selection_loses_only_its_last_unpinned_candidates(indices, pins, data):
    k = data.draw(st.integers(max(len(indices), 1), 16))
    selector = Scores(indices, np.arange(len(indices), 0, -1), k)
    ids = run(pinned(range(31), pins), selector).ids.tolist()
    assert len(ids) == len(set(ids)) == min(k, len({*indices, *pins}))
    assert len(set(pins) & set(ids)) == min(len(pins), k)
    others = [at for at in indices if at not in pins]
    assert [at for at in ids if at not in pins] == others[: k - min(len(pins), k)]
