"""Arranged lists: of all lists the one that breaks slots least, then rules least, then is the first.

``karec.kernels.reference.arrange`` looks at every list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec import _native
from karec.diversity import WHOLE_SESSION, MarkRule, Slot, arrange
from karec.kernels import reference

MOST = 5  # items of a list that the oracle looks at


@st.composite
def problems(draw: st.DrawFn, most: int = MOST) -> dict[str, Any]:
    """n items, up to three rules of few marks, up to three slots, items that stand in slots alone."""
    n, k = draw(st.integers(0, most)), draw(st.integers(0, most + 1))
    marks = st.lists(st.integers(-1, 2), min_size=n, max_size=n)
    rules = []
    for _ in range(draw(st.integers(0, 3))):
        puts = draw(marks)
        looks = puts if draw(st.booleans()) else draw(marks)
        shown = draw(st.lists(st.integers(-1, 2), max_size=3))
        rules.append(
            (puts, looks, shown, draw(st.sampled_from([2, 3, 4, WHOLE_SESSION])), draw(st.integers(0, 1)))
        )
    members = st.lists(st.booleans(), min_size=n, max_size=n)
    places = draw(st.lists(st.integers(0, k - 1), unique=True, max_size=3)) if k else []
    slots = [(place, draw(st.one_of(st.none(), members))) for place in places]
    only = draw(members) if slots and draw(st.booleans()) else [False] * n
    return {"n": n, "rules": rules, "slots": slots, "only": only, "k": k}


def arrays(problem: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``arrange`` of both libraries."""
    rules = [(*(np.array(marks, np.int64) for marks in rule[:3]), *rule[3:]) for rule in problem["rules"]]
    slots = [(place, None if fits is None else np.array(fits, bool)) for place, fits in problem["slots"]]
    return {
        "n": problem["n"],
        "rules": rules,
        "slots": slots,
        "only": np.array(problem["only"], bool),
        "k": problem["k"],
    }


def arranged(problem: dict[str, Any]) -> Any:
    given = arrays(problem)
    rules = [MarkRule(*rule) for rule in given["rules"]]
    return arrange(given["n"], rules, given["k"], [Slot(*slot) for slot in given["slots"]], given["only"])


@settings(max_examples=400)
@given(problems())
def test_no_list_breaks_less_and_of_the_best_the_first_is_taken(problem: dict[str, Any]) -> None:
    places, unmet, excess = reference.arrange(**problem)
    found = arranged(problem)
    assert found.whole
    assert found.indices.tolist() == places
    assert (len(found.unmet), sum(broken[2] for broken in found.broken)) == (unmet, excess)


@settings(max_examples=200)
@given(problems(most=40))
def test_arranged_list_repeats_no_item_and_is_not_shorter_than_needed(problem: dict[str, Any]) -> None:
    found = _native.arrange(*arrays(problem).values())
    there = [item for item in found[0].tolist() if item >= 0]
    assert len(set(there)) == len(there) and set(there) <= set(range(problem["n"]))
    n_only = sum(problem["only"])
    assert len(there) >= min(problem["k"] - len(problem["slots"]), problem["n"] - n_only)


@settings(max_examples=100)
@given(problems(most=30))
def test_what_is_broken_is_told(problem: dict[str, Any]) -> None:
    found = arranged(problem)
    places = found.indices.tolist()
    for number, (puts, looks, shown, window, allowed) in enumerate(problem["rules"]):
        marks = [*shown, *(-1 if item < 0 else puts[item] for item in places)]
        excess = {}
        for place, item in enumerate(places):
            here = len(shown) + place
            if item >= 0 and looks[item] >= 0:
                n_found = marks[max(0, here - window + 1) : here].count(looks[item])
                excess[place] = max(0, n_found - allowed)
        told = {place: by for place, rule, by in found.broken if rule == number}
        assert told == {place: by for place, by in excess.items() if by}
    missed = [
        number
        for number, (place, fits) in enumerate(problem["slots"])
        if fits is not None and (places[place] < 0 or not fits[places[place]])
    ]
    assert sorted(found.unmet) == missed


def same(values: list[int], window: int = 2, allowed: int = 0, shown: tuple[int, ...] = ()) -> MarkRule:
    """At most allowed + 1 of one value."""
    marks = np.array(values, np.int64)
    return MarkRule(marks, marks, np.array(shown, np.int64), window, allowed)


def only_at(n: int, *items: int) -> np.ndarray:
    return np.isin(np.arange(n), items)


def test_a_list_that_breaks_nothing_stays_as_it_is() -> None:
    found = arrange(4, [same([1, 2, 1, 2])], 4)
    assert found.indices.tolist() == [0, 1, 2, 3] and found.broken == () and found.whole


def test_a_work_pinned_to_a_place_stands_there_and_nowhere_before() -> None:
    found = arrange(4, [], 3, [Slot(2, only_at(4, 0))])
    assert found.indices.tolist() == [1, 2, 0]


def test_a_pin_is_kept_though_greedy_would_break_a_rule_for_it() -> None:
    found = arrange(4, [same([7, 7, 8, 9])], 3, [Slot(1, only_at(4, 0))])
    assert found.indices.tolist() == [2, 0, 3] and found.broken == ()


def test_a_free_place_stays_free_and_windows_count_it() -> None:
    found = arrange(3, [same([5, 5, 6])], 4, [Slot(1)])
    assert found.indices.tolist() == [0, -1, 1, 2] and found.broken == ()


def test_works_of_reserved_places_stand_nowhere_else_and_others_fill_what_they_leave() -> None:
    ads = only_at(6, 0, 3)
    slots = [Slot(1, ads), Slot(3, ads), Slot(4, ads)]
    found = arrange(6, [], 5, slots, ads)
    assert found.indices.tolist() == [1, 0, 2, 3, 4] and found.unmet == (2,)


def test_a_list_of_fewer_works_than_places_ends_early() -> None:
    found = arrange(2, [], 5, [Slot(4, only_at(2, 1))])
    assert found.indices.tolist() == [0, 1, -1, -1, -1] and found.unmet == (0,)


def test_kinds_that_do_not_stand_together_are_kept_apart_both_ways() -> None:
    kinds = np.array([0, 0, 1, 1, 2, 2])
    puts = np.where(kinds == 2, -1, kinds)
    apart = MarkRule(puts, np.where(puts < 0, -1, 1 - puts), np.zeros(0, np.int64))
    found = arrange(6, [apart], 6)
    assert kinds[found.indices].tolist() == [0, 0, 2, 1, 1, 2] and found.broken == ()


def test_a_search_that_would_not_end_is_given_up_for_the_greedy_list() -> None:
    rng = np.random.default_rng(0)
    rules = [same(rng.integers(0, 4, 60).tolist(), window=9, allowed=1) for _ in range(4)]
    slots = [Slot(3, only_at(60, 50)), Slot(5)]
    found = arrange(60, rules, 40, slots)
    assert not found.whole
    assert sorted(found.indices[found.indices >= 0].tolist()) == sorted(set(found.indices.tolist()) - {-1})
    assert found.indices[3] == 50 and found.indices[5] == -1 and (np.delete(found.indices, 5) >= 0).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rules": [same([1, 2])]}, r"puts has shape \(2,\), expected \(3,\)"),
        ({"rules": [same([1, 2, 3], window=1)]}, "rule 0 has a window below 2"),
        ({"rules": [same([1, 2, 3], allowed=-1)]}, "allowed must be at least 0, got -1"),
        ({"slots": [Slot(0), Slot(0)]}, "two slots are at place 0"),
        ({"slots": [Slot(3)]}, "slot 0 is at place 3 of 3"),
        ({"slots": [Slot(-1)]}, "a slot is at place -1"),
        ({"slots": [Slot(1, np.zeros(2, bool))]}, "fits has shape"),
        ({"only": np.zeros(4, bool)}, "only has shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arrange(**{"n": 3, "k": 3, "rules": [], **given})
