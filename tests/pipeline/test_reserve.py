"""Rules of the page hold if items that earlier steps left out can keep them."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thirty_works import thirty_works

from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Filter, Selector, Source
from karec.pipeline.trace import RANDOMISED
from karec.pipeline.types import Candidates, Request, Selection
from karec.steps.filters.quota import Quota
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.random_position import RandomPosition
from karec.steps.selectors.top_k import TopK
from karec.steps.shared.page_rules import Position, Rule
from karec.steps.sources.merge import Merge

CREATOR = Rule("creator_id", 10, 1)


@pytest.fixture(scope="module")
def index():
    return thirty_works()


class All(Source):
    name, quota = "all", 30

    def __init__(self, ids):
        self.ids = np.array(ids)

    def recall(self, request):
        return Candidates.from_ids(self.ids, -np.arange(len(self.ids)))


class FirstOpen(Selector):
    name = "first_open"

    def __init__(self, k):
        self.k = k

    def select(self, request, candidates):
        return Selection(np.flatnonzero(request.index.is_open(ids=candidates.ids))[: self.k])


class Without(Filter):
    name, reason = "without", "named"

    def __init__(self, *ids):
        self.ids = ids

    def keep(self, request, candidates):
        return ~np.isin(candidates.ids, self.ids)


def page_rules_step(index, rules, places=()):
    step = PageRules(index.schema, rules, places)
    step.name = "page_rules"
    return step


def page_of_steps(index, ids, k, rank, rerank, shown=()):
    """Returns the page of recall, which finds ``ids``, and of two stages with the given steps."""
    stages = Stage("rank", (IndexRows(index.schema), *rank)), Stage("rerank", tuple(rerank))
    cascade = Cascade("home", (), Recall((All(ids),), Merge([30], 30)), stages, index=index)
    return cascade.run(Request(1, k, "home", shown=shown))


def page_of(index, ids, rules, k, *, n_ranked, steps=(), shown=(), places=()):
    """Returns the page of rank, which keeps ``n_ranked`` of ``ids``, and of rerank with ``rules``."""
    rerank = (*steps, page_rules_step(index, rules, places))
    return page_of_steps(index, ids, k, (TopK(n_ranked),), rerank, shown)


def ids_of(page):
    return tuple(page.candidates.ids.tolist())


def test_items_that_rank_left_out_keep_the_rules(index):
    page = page_of(index, [0, 7, 14, 21, 1, 8, 2], [CREATOR], 3, n_ranked=4)  # 0, 7, 14, 21: one creator
    assert ids_of(page) == (0, 1, 2) and not page.degraded


def test_items_that_the_last_stage_cut_come_before_those_of_the_reserve(index):
    page = page_of(index, [0, 7, 1, 2, 3], [CREATOR], 3, n_ranked=3, steps=(TopK(2),))
    assert ids_of(page) == (0, 1, 2)


def test_reserve_is_not_read_if_the_candidates_keep_the_rules(index):
    page = page_of(index, [0, 1, 2, 3], [CREATOR], 2, n_ranked=3)
    assert ids_of(page) == (0, 1) and page.trace.steps[-1].n_in == 3


def test_filters_of_the_last_stage_hold_for_the_reserve(index):
    page = page_of(index, [0, 7, 14, 1, 2, 3], [CREATOR], 3, n_ranked=2, steps=(Without(1),))
    assert ids_of(page) == (0, 2, 3)


@pytest.mark.parametrize("at", range(5))
def test_items_of_the_reserve_pass_each_filter_before_the_rules(index, at):
    """A filter at any place of the last two stages."""
    steps = [TopK(4), TopK(3), TopK(2), page_rules_step(index, [CREATOR])]
    steps.insert(at, Without(1))
    n = 2 + (at <= 1)
    page = page_of_steps(index, [0, 1, 7, 2, 14, 3], 3, steps[:n], steps[n:])
    assert ids_of(page) == ((0, 7, 2) if at == 1 else (0, 2, 3))


def test_quota_of_the_last_stage_counts_candidates_and_reserve_together(index):
    steps = (Quota(index.schema, "creator_id", 1),)  # 1 and 8 have one creator
    page = page_of(index, [0, 1, 8, 2], [], 3, n_ranked=2, steps=steps)
    assert ids_of(page) == (0, 1, 2)


def test_rules_before_random_positions_keep_their_reserve(index):
    page_rules, random_position = PageRules(index.schema, [CREATOR]), RandomPosition(1.0, 3)
    page_rules.name, random_position.name = "page_rules", "random_position"
    stages = (
        Stage("rank", (IndexRows(index.schema), TopK(2))),
        Stage("rerank", (page_rules, random_position)),
    )
    cascade = Cascade("home", (), Recall((All([0, 7, 1, 2]),), Merge([30], 30)), stages, index=index)
    pages = [cascade.run(Request(1, 3, "home", request_id=str(i))) for i in range(40)]
    assert {ids_of(page) for page in pages} == {*permutations([0, 1, 2])}
    assert all(page.trace.steps[-1].notes == {RANDOMISED: [0, 1, 2]} for page in pages)


@pytest.mark.parametrize("n_last", [0, 1])
def test_blocked_items_that_a_selector_left_out_stay_out(n_last):
    index = thirty_works()
    index.block([1])
    steps = (FirstOpen(3), page_rules_step(index, [CREATOR]))
    page = page_of_steps(index, [0, 7, 1, 14, 2], 2, steps[: 1 - n_last], steps[1 - n_last :])
    assert ids_of(page) == (0, 2)


@pytest.mark.parametrize("n_ranked", [1, 2, 3, 6])
def test_reserve_replaces_items_that_a_filter_after_the_rules_drops(index, n_ranked):
    rerank = (page_rules_step(index, [CREATOR]), Without(1, 3))
    page = page_of_steps(index, [0, 7, 1, 2, 3, 4], 3, (TopK(n_ranked),), rerank)
    assert ids_of(page) == (0, 2, 4) and not page.degraded


def test_page_is_filled_from_the_reserve(index):
    page = page_of(index, [0, 1, 2, 3], [CREATOR], 3, n_ranked=2)
    assert ids_of(page) == (0, 1, 2)


def test_rule_that_no_item_can_keep_is_relaxed_and_named(index):
    page = page_of(index, [0, 7, 14, 21], [CREATOR], 3, n_ranked=2)
    assert ids_of(page) == (0, 7, 14)
    assert page.degraded == ("rerank.page_rules: at most 1 of one creator_id in 10",)


def test_last_rule_is_relaxed_first(index):
    creator, song = Rule("creator_id"), Rule("song_id")  # 0 and 7 have one creator, 0 and 1 one song
    for rules, ids in (([creator, song], (0, 1, 7)), ([song, creator], (0, 7, 1))):
        page = page_of(index, [0, 7, 1], rules, 3, n_ranked=3)
        assert ids_of(page) == ids and page.degraded == (f"rerank.page_rules: {rules[1]}",)


def test_items_of_the_page_before_count(index):
    page = page_of(index, [7, 1, 2], [CREATOR], 2, n_ranked=1, shown=(0,))
    assert ids_of(page) == (1, 2)


def test_reserved_position_takes_an_item_of_the_reserve(index):
    page = page_of(index, [0, 1, 2, 9], [], 2, n_ranked=2, places=[Position(1, work=9)])
    assert ids_of(page) == (9, 0) and not page.degraded


@settings(max_examples=60)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 4))
def test_page_keeps_the_rules_if_any_order_of_all_items_does(index, ids, n_ranked, k):
    rules = [Rule("creator_id", 10, 1), Rule("song_id", 2, 1)]
    page = page_of(index, ids, rules, k, n_ranked=n_ranked)
    creators, songs = index.columns["creator_id"], index.columns["song_id"]

    def keeps(order):
        own = creators[list(order)]
        return len(set(own)) == k and (np.diff(songs[list(order)]) != 0).all()

    has_solution = any(keeps(order) for order in permutations(range(12), k))
    assert has_solution == (not page.degraded) == keeps(ids_of(page))
