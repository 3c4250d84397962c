"""The page_rules step: distances between items, reserved places, boosts, and rules that cannot be kept."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thirty_works import candidates, selected, thirty_works

from karec.bundle.ids import BundleIds
from karec.config.registry import settings_type
from karec.errors import ConfigError
from karec.index import IdMap, ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.steps.selectors.page_rules import PageRules
from karec.steps.shared.page_rules import Boost, Boosts, Position, Rule
from karec.toml import Place as File
from karec.toml import convert

FILE = File(Path("f"))
REQUEST = Request(user_id=1, k=4)
APART = Rule("song_id"), Rule("creator_id")


@pytest.fixture(scope="module")
def index():
    return thirty_works()


def ids(step, request, works, index):
    return works.ids[selected(step, request, works, index).indices].tolist()


def notes(step, request, works, index):
    return selected(step, request, works, index).notes


def test_page_rules_separate_songs_and_creators(index):
    chosen = selected(PageRules(index.schema, APART, k=30), REQUEST, candidates(range(30)), index).indices
    assert sorted(chosen) == list(range(30))
    for column in ("song_id", "creator_id"):
        values = index.columns[column][chosen]
        assert (values[1:] != values[:-1]).all()


def test_page_rules_count_shown_items(index):
    c = candidates([0, 3, 6, 9])
    step = PageRules(index.schema, [Rule("song_id", 20)], k=2)
    chosen = selected(step, Request(user_id=1, k=2, shown=(1, 4)), c, index)
    assert c.ids[chosen.indices].tolist() == [6, 9] and chosen.notes == {"violations": 0}


def test_page_rules_limit_a_value_in_a_session(index):
    step = PageRules(index.schema, [Rule("song_id", "session", 2)])
    shown = (0, *range(20, 29), 1)  # two works of song 0, eleven works ago and last
    assert ids(step, Request(1, k=2, shown=shown), candidates([2, 5, 8]), index) == [5, 8]


def test_page_rules_on_some_values_ignore_other_values(index):
    works = candidates([0, 2, 4, 1, 3])
    assert ids(PageRules(index.schema, [Rule("type", values=(1,))]), Request(1, k=5), works, index) == [
        0,
        2,
        1,
        4,
        3,
    ]


def test_page_rules_keep_pairs_of_values_apart(index):
    works = candidates([0, 3, 6, 9, 12])  # songs 0 … 4
    step = PageRules(index.schema, [Rule("song_id", apart=((0, 1), (2, 3)))])
    assert ids(step, Request(1, k=5), works, index) == [0, 6, 3, 9, 12]


def test_page_rules_count_and_name_broken_rules(index):
    selection = selected(
        PageRules(index.schema, [Rule("song_id")], k=3), REQUEST, candidates([0, 1, 2]), index
    )
    assert selection.indices.tolist() == [0, 1, 2]
    assert selection.notes == {
        "violations": 2,
        "broken": [f"place {place}: at most 1 of one song_id in 2 (+1)" for place in (2, 3)],
        "relaxed": ["at most 1 of one song_id in 2"],
    }


def test_page_rules_treat_missing_values_as_distinct(index):
    c = candidates([0, 3, 6]).with_rows(np.array([-1, -1, -1]))
    assert notes(PageRules(index.schema, [Rule("song_id")]), REQUEST, c, index) == {"violations": 0}
    missing = ItemIndex.build(np.arange(3), np.eye(3), columns={"song_id": np.full(3, -1)})
    assert notes(PageRules(missing.schema, [Rule("song_id")]), REQUEST, candidates([0, 1, 2]), missing) == {
        "violations": 0
    }


def test_page_rules_reserve_a_place_for_an_item_or_a_value(index):
    works = candidates(range(10))
    pinned = PageRules(index.schema, places=[Position(3, work=9), Position(1, column="type", values=(1,))])
    assert ids(pinned, REQUEST, works, index) == [1, 0, 9, 2]


def test_page_rules_note_free_places(index):
    selection = selected(
        PageRules(index.schema, [Rule("song_id")], [Position((2, 9))]),
        REQUEST,
        candidates([0, 1, 3, 6]),
        index,
    )
    # works 0 and 1 are not neighbours: the free place is between
    assert selection.indices.tolist() == [0, 1, 2]
    assert selection.notes == {"violations": 0, "free": [2]}


def test_page_rules_with_only_place_a_value_nowhere_else(index):
    works = candidates([1, 3, 0, 2, 4, 6])  # of type 1: 1 and 3
    step = PageRules(index.schema, places=[Position((2, 4, 6), column="type", values=(1,), only=True)])
    assert ids(step, Request(1, k=5), works, index) == [0, 1, 2, 3, 4]
    assert notes(step, Request(1, k=6), works, index)["broken"] == ["place 6: type = 1 is missing"]


def test_page_rules_name_a_reserved_item_that_is_missing(index):
    step = PageRules(index.schema, places=[Position(2, work=77)])
    assert ids(step, REQUEST, candidates([0, 1, 2]), index) == [0, 1, 2]
    assert notes(step, REQUEST, candidates([0, 1, 2]), index) == {
        "violations": 1,
        "broken": ["place 2: work 77 is missing"],
        "relaxed": ["place 2: work 77 is missing"],
    }


def boosts(at_most, most_places, *works):
    return Boosts(tuple(Boost(*work) for work in works), at_most, most_places)


def test_page_rules_boost_at_most_the_configured_items(index):
    works = candidates([0, 2, 4, 6, 1, 3, 5])  # of type 1: the last three
    three = boosts(3, 3, ("type", (1,), 3))
    assert ids(PageRules(index.schema, boosts=three), Request(1, k=7), works, index) == [0, 1, 2, 3, 4, 5, 6]
    one = boosts(1, 3, ("type", (1,), 3))
    assert ids(PageRules(index.schema, boosts=one), Request(1, k=7), works, index) == [0, 1, 2, 4, 6, 3, 5]


def test_page_rules_add_boosts_up_to_most_places(index):
    works = candidates([3, 6, 9, 12, 15, 18, 1])  # of creator 1: 15 and 1; of song 0: 1
    step = PageRules(index.schema, boosts=boosts(2, 4, ("song_id", (0,), 3), ("creator_id", (1,), 2)))
    assert ids(step, Request(1, k=7), works, index) == [3, 6, 1, 15, 9, 12, 18]


@given(st.permutations(range(12)), st.integers(1, 4), st.integers(1, 6), st.integers(1, 12))
def test_page_rules_never_exceed_most_places_and_at_most(order, at_most, most, k):
    works = candidates(order)
    index = thirty_works()
    step = PageRules(index.schema, boosts=boosts(at_most, most, ("type", (1,), most)), k=12)
    places = {work: place for place, work in enumerate(ids(step, Request(1, k=12), works, index))}
    up = [place - places[work] for place, work in enumerate(order)]
    assert max(up) <= most
    assert sum(move > 0 for move in up) <= at_most
    assert all(work % 2 for work, move in zip(order, up, strict=True) if move > 0)


def test_page_rules_explain_the_order_before_and_after(index):
    step = PageRules(index.schema, [Rule("song_id")], [Position(3, work=9)], boosts(1, 1, ("type", (1,), 1)))
    explanation = notes(step, Request(1, k=3, explain=True), candidates([0, 2, 1, 9]), index)["explanation"]
    assert explanation["before"] == [0, 2, 1]
    assert explanation["arranged"] == [
        {"id": 0, "place": 1, "was": 1, "lifted": 0, "owner": None},
        {"id": 1, "place": 2, "was": 3, "lifted": 1, "owner": None},
        {"id": 9, "place": 3, "was": 4, "lifted": 0, "owner": "work 9"},
    ]
    assert explanation["broken"] == ["place 2: at most 1 of one song_id in 2 (+1)"]


@pytest.mark.parametrize(
    ("rules", "places", "message"),
    [
        (
            [],
            [Position(1, work=3), Position((1, 2))],
            "place 1: work 3 and place 1, 2: free contradict each other",
        ),
        (
            [],
            [Position(1, work=3), Position(2, work=3)],
            "place 1: work 3 and place 2: work 3 contradict each other: one wo",
        ),
        (
            [Rule("type", values=(1,))],
            [Position((3, 4), column="type", values=(1,))],
            r"place 3, 4: type = 1 and the rule at most 1 of one type = 1 in 2 contradict each other",
        ),
        (
            [Rule("type", "session")],
            [Position(1, column="type", values=(1,)), Position(9, column="type", values=(1,))],
            "place 1: type = 1, place 9: type = 1 and the rule at most 1 of one type in a session contradict",
        ),
        (
            [Rule("type", 3, apart=((0, 1),))],
            [Position(2, column="type", values=(0,)), Position(4, column="type", values=(1,))],
            "place 2: type = 0, place 4: type = 1 and the rule type 0 and 1 apart in 3 contradict each other",
        ),
        (
            [],
            [Position(2, column="type", values=(1,), only=True), Position(4, column="type", values=(0, 1))],
            "place 2: type = 1 and place 4: type = 0 or 1 contradict each other: works of type = 1 stand "
            "only in places",
        ),
    ],
)
def test_page_rules_reject_contradictions_with_both_names(index, rules, places, message):
    with pytest.raises(ValueError, match=message):
        PageRules(index.schema, rules, places)


def test_page_rules_accept_compatible_rules_and_places(index):
    PageRules(
        index.schema,
        [Rule("type", values=(1,)), Rule("type", 2, apart=((0, 2),)), Rule("song_id", 3, 2)],
        [
            Position((1, 3), column="type", values=(1,)),
            Position(2, column="type", values=(0,)),
            Position(5, work=3),
        ],
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"rules": [{"column": "x", "max_count": 2}]},
            "at most 2 of one x in 2: a rule needs 1 ≤ max_count < window",
        ),
        ({"rules": [{"column": "x", "window": 1}]}, 'window = 1, expected at least 2, or "session"'),
        ({"rules": [{"column": "x", "window": "day"}]}, "window = 'day', expected int or 'session'"),
        (
            {"rules": [{"column": "x", "apart": [[0, 1]], "values": [1]}]},
            "apart goes without max_count and values",
        ),
        ({"rules": [{"column": "x", "apart": [[0]]}]}, r"apart\[0\] = \[0\], expected a list of 2"),
        ({"places": [{"at": 0}]}, "at = 0, expected places counted from 1, without repeats"),
        ({"places": [{"at": [2, 2]}]}, r"at = \(2, 2\), expected places counted from 1, without repeats"),
        ({"places": [{"at": [1, 2], "work": 3}]}, "a work has one position and no column"),
        ({"places": [{"at": 1, "column": "type"}]}, "column and values go together"),
        ({"places": [{"at": 1, "only": True}]}, "only goes with column and values"),
        ({"boosts": {"works": [], "at_most": 1, "most_places": 1}}, "boosts have no works"),
        (
            {
                "boosts": {
                    "works": [{"column": "x", "values": [1], "places": 1}],
                    "at_most": 0,
                    "most_places": 1,
                }
            },
            "at_most = 0 and most_places = 1, expected at l",
        ),
        (
            {
                "boosts": {
                    "works": [{"column": "x", "values": [1], "places": 5}],
                    "at_most": 1,
                    "most_places": 2,
                }
            },
            "the boost of x is 5 places, above most_places = 2",
        ),
        (
            {
                "boosts": {
                    "works": [{"column": "x", "values": [], "places": 5}],
                    "at_most": 1,
                    "most_places": 9,
                }
            },
            "a boos",
        ),
    ],
)
def test_page_rules_reject_a_wrong_table_with_its_place(table, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        convert(settings_type(PageRules, FILE), table, FILE)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("mood"), "no column 'mood'"),
        (Rule("tone"), "column 'tone' has dtype float64, expected integers"),
    ],
)
def test_page_rules_reject_missing_and_float_columns(index, rule, message):
    with pytest.raises(ValueError, match=message):
        PageRules(index.schema, [rule])


def test_page_rules_find_a_reserved_item_by_its_string_id(tmp_path):
    names = [f"song-{at}" for at in range(30)]
    works = IdMap.build(names, tmp_path / "items.karec")
    naming = BundleIds(IdMap.build(["ann"], tmp_path / "users.karec"), works)
    index = ItemIndex.build(
        works.numbers(names), np.eye(30, dtype=np.float32), columns={"song_id": np.arange(30)}
    )
    step = PageRules(index.schema, places=[Position(2, work="song-17")], naming=naming)
    pool = Candidates.from_ids(works.numbers(names), np.linspace(1, 0, 30)).with_rows(np.arange(30))
    result = selected(step, REQUEST, pool, index)
    assert works.names(pool.ids[result.indices]).tolist() == ["song-0", "song-17", "song-1", "song-2"]
    absent = PageRules(index.schema, places=[Position(2, work="song-99")], naming=naming)
    assert notes(absent, REQUEST, pool, index)["broken"] == ["place 2: work song-99 is missing"]


def test_page_rules_reject_a_string_id_if_ids_are_integers(index, tmp_path):
    with pytest.raises(ValueError, match="work = 'song-17': ids of this bundle are integers"):
        PageRules(index.schema, places=[Position(2, work="song-17")])
    numbers = BundleIds(*(IdMap.build([5, 7], tmp_path / f"{name}.karec") for name in ("users", "items")))
    with pytest.raises(ValueError, match="'song-17' is not an id of this platform: works have integer ids"):
        PageRules(index.schema, places=[Position(2, work="song-17")], naming=numbers)


def test_page_rules_reject_an_integer_id_if_ids_are_strings(index, tmp_path):
    texts, numbers = (
        BundleIds(*(IdMap.build(ids, tmp_path / f"{name} of {ids[0]}.karec") for name in ("users", "items")))
        for ids in (["ann", "bob"], [5, 7])
    )
    with pytest.raises(ValueError, match="5 is not an id of this platform: works have string ids"):
        PageRules(index.schema, places=[Position(2, work=5)], naming=texts)
    assert PageRules(index.schema, places=[Position(2, work=7)], naming=numbers).pinned == {7: 7}
