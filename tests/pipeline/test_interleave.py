"""The team draft: an oracle of its turns, hard rules on the page, and data of items from their own team."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thirty_works import candidates, thirty_works

from karec.pipeline.interleave import Team, draft, interleave
from karec.pipeline.trace import RELAXED, StepTrace, Trace
from karec.pipeline.types import Page, Request
from karec.steps.selectors.page_rules import PageRules
from karec.steps.selectors.top_k import TopK
from karec.steps.shared.page_rules import Position, Rule

lists_of_items = st.lists(st.integers(0, 11), max_size=12, unique=True)


@pytest.fixture(scope="module")
def index():
    return thirty_works()


def no_rules(page):
    return {}


def oracle_draft(first, second, k, coins):
    """Radlinski's draft: in a round the winner of the coin picks, then the other team."""
    page, remaining = [], [list(first), list(second)]
    counts = [0, 0]
    while len(page) < k and any(remaining):
        behind = None if counts[0] == counts[1] else int(counts[1] < counts[0])
        team = coins[len(page)] if behind is None else behind
        team = team if remaining[team] else 1 - team
        item = remaining[team][0]
        page.append((item, team))
        counts[team] += 1
        remaining = [[other for other in items if other != item] for items in remaining]
    return page


@given(
    lists_of_items, lists_of_items, st.integers(0, 10), st.lists(st.integers(0, 1), min_size=10, max_size=10)
)
def test_draft_equals_its_oracle(first, second, k, coins):
    result = draft([first, second], k, coins, no_rules)
    assert [*zip(result.items, result.teams, strict=True)] == oracle_draft(first, second, k, coins)


@given(lists_of_items, lists_of_items, st.integers(0, 10))
def test_draft_of_swapped_lists_and_coins_swaps_teams(first, second, k):
    coins = [(i * 7) % 3 % 2 for i in range(k)]
    one = draft([first, second], k, coins, no_rules)
    other = draft([second, first], k, [1 - coin for coin in coins], no_rules)
    assert one.items == other.items and one.teams == tuple(1 - team for team in other.teams)


@given(lists_of_items, lists_of_items, st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_draft_breaks_a_rule_only_if_every_remaining_item_does(first, second, colours):
    def neighbours_differ(page):
        last = colours[page[-1]] if page else -1
        return {"colour": np.array(colours) == last}

    result = draft([first, second], 10, [0, 1] * 5, neighbours_differ)
    is_relaxed = False
    for place in range(1, len(result.items)):
        last, item = result.items[place - 1 : place + 1]
        if colours[item] == colours[last]:
            is_relaxed = True
            remaining = {*first, *second} - {*result.items[:place]}
            assert {colours[other] for other in remaining} == {colours[last]}
    assert result.relaxed == (("colour",) if is_relaxed else ())
    assert {*result.items} <= {*first, *second} and len({*result.items}) == len(result.items)
    assert len(result.items) == min(10, len({*first, *second}))


def test_draft_leaves_free_places_empty():
    assert draft([[1, 2], [3]], 4, [0] * 4, no_rules, free={1}).items == (1, -1, 3, 2)


def page_of(ids, request, scores=None, sources=None, names=("popular",), stage="rank"):
    items = candidates(ids)
    n = len(ids)
    scores = np.arange(n, 0, -1, np.float32) if scores is None else np.array(scores, np.float32)
    items = replace(items, scores=scores, sources=np.array(sources or [1] * n, np.uint32))
    trace = Trace((StepTrace("rerank", "page_rules", "selector", n, n, 1.0, notes={RELAXED: ["r"]}),))
    return Page(request, items, trace, scored={stage: items}, source_names=names, versions={"config": "a"})


def team(name, ids, request, rules=None, passed=(), **more):
    page = page_of(ids, request, **more)
    return Team(name, page, candidates(passed).with_scores(-np.arange(len(passed))), (rules or TopK(),))


def request_with(index, k, request_id="r", **more):
    return Request(1, k, request_id=request_id, view=index.pinned(), **more)


def values(index, page, column):
    return index.columns[column][page.candidates.ids]


@pytest.mark.parametrize("request_id", ["a", "b", "c", "d"])
def test_page_keeps_the_rules_of_both_teams(index, request_id):
    request = request_with(index, 8, request_id, shown=(0,))
    songs = PageRules(index.schema, [Rule("song_id")])
    creators = PageRules(index.schema, [Rule("creator_id", 8, 3)])
    page = interleave(
        request, [team("a", range(10), request, songs), team("b", range(10, 20), request, creators)], ()
    )
    song, creator = (index.columns[column][[0, *page.candidates.ids]] for column in ("song_id", "creator_id"))
    assert (song[1:] != song[:-1]).all() and np.bincount(creator).max() <= 3
    assert page.degraded == () and len(page) == 8
    assert [*zip(page.teams, page.candidates.ids // 10, strict=True)] == [
        (name, int(name == "b")) for name in page.teams
    ]


def test_page_names_a_rule_that_no_item_keeps(index):
    request = request_with(index, 3)
    rules = PageRules(index.schema, [Rule("song_id")])  # works 0, 1 and 2 have one song
    page = interleave(request, [team("a", [0, 1], request, rules), team("b", [2], request, rules)], ())
    assert page.degraded == ("page.team_draft: at most 1 of one song_id in 2",) and len(page) == 3


def test_page_keeps_reserved_positions(index):
    request = request_with(index, 5)
    rules = PageRules(
        index.schema, places=[Position(3, work=9), Position((2, 5), column="type", values=(1,), only=True)]
    )
    # of type 1: the odd works
    page = interleave(
        request, [team("a", [9, 0, 1, 2], request, rules), team("b", [11, 4, 13, 9], request, rules)], ()
    )
    ids = page.candidates.ids
    kinds = index.columns["type"][ids]
    assert ids[2] == 9 and kinds[[1, 4]].tolist() == [1, 1] and not kinds[[0, 3]].any()
    assert page.degraded == ()


def test_page_takes_reserve_items_if_the_lists_are_short(index):
    request = request_with(index, 6)
    page = interleave(
        request,
        [team("a", [0, 3], request, passed=[0, 6, 9]), team("b", [3], request, passed=[3, 12, 15])],
        (),
    )
    assert sorted(page.candidates.ids) == [0, 3, 6, 9, 12, 15] and page.shortfall is None
    short = interleave(request, [team("a", [0, 3], request), team("b", [3], request)], ())
    assert (short.shortfall.got, short.shortfall.wanted) == (2, 6)


def test_page_leaves_out_blocked_reserve_items(index):
    open_index = thirty_works()
    open_index.block([6])
    request = request_with(open_index, 3)
    page = interleave(request, [team("a", [0], request, passed=[6, 9]), team("b", [0], request)], ())
    assert sorted(page.candidates.ids) == [0, 9]


def test_item_has_score_sources_and_cause_of_its_team(index):
    request = request_with(index, 4)
    first = team("a", [0, 3], request, scores=[5, 4], names=("popular", "fresh"), sources=[1, 2])
    second = team("b", [3, 0, 6], request, scores=[9, 8, 7], names=("fresh", "city"), sources=[1, 2, 3])
    second = replace(second, page=replace(second.page, causes={2: ("since {item}", 4)}))
    page = interleave(request, [first, second], ())
    expected = {
        ("a", 0): (5, ("popular",)),
        ("a", 3): (4, ("fresh",)),
        ("b", 3): (9, ("fresh",)),
        ("b", 0): (8, ("city",)),
        ("b", 6): (7, ("fresh", "city")),
    }
    for item in page:
        assert (item.score, item.sources) == expected[item.team, item.item_id]
    (place,) = (item.position for item in page if item.item_id == 6)
    assert page.why(place).item_id == 4
    assert {*page.scored["rank"].ids} == {0, 3, 6}


def test_coins_give_a_shared_item_to_each_team_equally_often(index):
    view = index.pinned()
    n = 2_000
    firsts = []
    for i in range(n):
        request = Request(1, 1, request_id=f"r{i}", view=view)
        firsts += interleave(request, [team("a", [0], request), team("b", [0], request)], ()).teams
    share = firsts.count("a") / n
    assert abs(share - 0.5) < 4.5 * 0.5 / np.sqrt(n)


def test_page_of_a_request_is_a_pure_function_of_its_id(index):
    pages = [
        interleave(request, [team("a", range(9), request), team("b", range(8, -1, -1), request)], ())
        for request in (request_with(index, 9, request_id) for request_id in "xxyzuvw")
    ]
    assert pages[0].teams == pages[1].teams and len({page.teams for page in pages}) > 1
