"""``arrange``: the list with the fewest unmet slots, then the fewest conflicts of each rule, then the first.

``karec.kernels.reference.arrange`` tries every list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec import _native
from karec.diversity import WHOLE_SESSION, NeighbourRule, Slot, arrange
from karec.kernels import reference

MAX_ITEMS = 5  # of a list that the reference arranges


@st.composite
def problems(draw: st.DrawFn, max_items: int = MAX_ITEMS) -> dict[str, Any]:
    """Returns n items, up to three rules of few labels, up to three slots, items for slots only."""
    n, k = draw(st.integers(0, max_items)), draw(st.integers(0, max_items + 1))
    labels = st.lists(st.integers(-1, 2), min_size=n, max_size=n)
    rules = []
    for _ in range(draw(st.integers(0, 3))):
        own = draw(labels)
        conflicts = own if draw(st.booleans()) else draw(labels)
        shown = draw(st.lists(st.integers(-1, 2), max_size=3))
        rules.append(
            (own, conflicts, shown, draw(st.sampled_from([2, 3, 4, WHOLE_SESSION])), draw(st.integers(0, 1)))
        )
    members = st.lists(st.booleans(), min_size=n, max_size=n)
    places = draw(st.lists(st.integers(0, k - 1), unique=True, max_size=3)) if k else []
    slots = [(place, draw(st.one_of(st.none(), members))) for place in places]
    only = draw(members) if slots and draw(st.booleans()) else [False] * n
    return {"n": n, "rules": rules, "slots": slots, "only": only, "k": k}


def arrays(problem: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of ``arrange`` of both libraries."""
    rules = [(*(np.array(labels, np.int64) for labels in rule[:3]), *rule[3:]) for rule in problem["rules"]]
    slots = [(place, None if fits is None else np.array(fits, bool)) for place, fits in problem["slots"]]
    return {
        "n": problem["n"],
        "rules": rules,
        "slots": slots,
        "only": np.array(problem["only"], bool),
        "k": problem["k"],
    }


def arranged(problem: dict[str, Any]) -> Any:
    arguments = arrays(problem)
    rules = [NeighbourRule(*rule) for rule in arguments["rules"]]
    slots = [Slot(*slot) for slot in arguments["slots"]]
    return arrange(arguments["n"], rules, arguments["k"], slots=slots, is_slot_only=arguments["only"])


@settings(max_examples=400)
@given(problems())
def test_arrange_takes_the_first_of_the_best_lists(problem: dict[str, Any]) -> None:
    places, unmet, excess = reference.arrange(**problem)
    result = arranged(problem)
    assert result.is_exact
    assert result.indices.tolist() == places
    assert len(result.unmet_slots) == unmet
    of_rule = [sum(by for _, rule, by in result.violations if rule == r) for r in range(len(excess))]
    assert of_rule == excess


@settings(max_examples=200)
@given(problems(max_items=40))
def test_arrange_repeats_no_item_and_fills_the_list(problem: dict[str, Any]) -> None:
    result = _native.arrange(*arrays(problem).values())
    there = [item for item in result[0].tolist() if item >= 0]
    assert len(set(there)) == len(there) and set(there) <= set(range(problem["n"]))
    n_only = sum(problem["only"])
    assert len(there) >= min(problem["k"] - len(problem["slots"]), problem["n"] - n_only)


@settings(max_examples=100)
@given(problems(max_items=30))
def test_arrange_reports_every_violation_and_unmet_slot(problem: dict[str, Any]) -> None:
    result = arranged(problem)
    places = result.indices.tolist()
    for number, (labels, conflicts, shown, window, max_conflicts) in enumerate(problem["rules"]):
        marks = [*shown, *(-1 if item < 0 else labels[item] for item in places)]
        excess = {}
        for place, item in enumerate(places):
            here = len(shown) + place
            if item >= 0 and conflicts[item] >= 0:
                n_found = marks[max(0, here - window + 1) : here].count(conflicts[item])
                excess[place] = max(0, n_found - max_conflicts)
        reported = {place: by for place, rule, by in result.violations if rule == number}
        assert reported == {place: by for place, by in excess.items() if by}
    missed = [
        number
        for number, (place, fits) in enumerate(problem["slots"])
        if fits is not None and (places[place] < 0 or not fits[places[place]])
    ]
    assert sorted(result.unmet_slots) == missed


def same(values: list[int], window: int = 2, max_conflicts: int = 0) -> NeighbourRule:
    """Returns the rule that at most max_conflicts + 1 neighbours have one value."""
    labels = np.array(values, np.int64)
    return NeighbourRule(labels, labels, labels[:0], window, max_conflicts)


def members(n: int, *items: int) -> np.ndarray:
    return np.isin(np.arange(n), items)


def test_arrange_keeps_the_order_of_a_valid_list() -> None:
    result = arrange(4, [same([1, 2, 1, 2])], 4)
    assert result.indices.tolist() == [0, 1, 2, 3] and result.violations == () and result.is_exact


def test_arrange_breaks_the_last_rule_first() -> None:
    creators, songs = same([0, 0, 1]), same([0, 1, 0])  # each order of the items breaks one of the rules
    assert arrange(3, [creators, songs], 3).indices.tolist() == [0, 2, 1]
    assert arrange(3, [songs, creators], 3).indices.tolist() == [0, 1, 2]


def test_slot_holds_its_member_and_no_earlier_position_does() -> None:
    result = arrange(4, [], 3, slots=[Slot(2, members(4, 0))])
    assert result.indices.tolist() == [1, 2, 0]


def test_slot_is_met_without_a_violation_where_greedy_has_one() -> None:
    result = arrange(4, [same([7, 7, 8, 9])], 3, slots=[Slot(1, members(4, 0))])
    assert result.indices.tolist() == [2, 0, 3] and result.violations == ()


def test_empty_slot_stays_empty_and_counts_in_windows() -> None:
    result = arrange(3, [same([5, 5, 6])], 4, slots=[Slot(1)])
    assert result.indices.tolist() == [0, -1, 1, 2] and result.violations == ()


def test_slot_only_items_are_in_slots_only() -> None:
    ads = members(6, 0, 3)
    slots = [Slot(1, ads), Slot(3, ads), Slot(4, ads)]
    result = arrange(6, [], 5, slots=slots, is_slot_only=ads)
    assert result.indices.tolist() == [1, 0, 2, 3, 4] and result.unmet_slots == (2,)


def test_list_ends_early_with_fewer_items_than_positions() -> None:
    result = arrange(2, [], 5, slots=[Slot(4, members(2, 1))])
    assert result.indices.tolist() == [0, 1, -1, -1, -1] and result.unmet_slots == (0,)


def test_conflicting_labels_are_separated_in_both_orders() -> None:
    kinds = np.array([0, 0, 1, 1, 2, 2])
    labels = np.where(kinds == 2, -1, kinds)
    apart = NeighbourRule(labels, np.where(labels < 0, -1, 1 - labels), labels[:0])
    result = arrange(6, [apart], 6)
    assert kinds[result.indices].tolist() == [0, 0, 2, 1, 1, 2] and result.violations == ()


def test_long_search_is_given_up_for_the_greedy_list() -> None:
    rng = np.random.default_rng(0)
    rules = [same(rng.integers(0, 4, 60).tolist(), window=9, max_conflicts=1) for _ in range(4)]
    slots = [Slot(3, members(60, 50)), Slot(5)]
    result = arrange(60, rules, 40, slots=slots)
    assert not result.is_exact
    assert sorted(result.indices[result.indices >= 0].tolist()) == sorted(set(result.indices.tolist()) - {-1})
    assert result.indices[3] == 50 and result.indices[5] == -1 and (np.delete(result.indices, 5) >= 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": [same([1, 2])]}, r"labels has shape \(2,\), expected \(3,\)"),
        ({"rules": [same([1, 2, 3], window=1)]}, "rule 0 has a window below 2"),
        ({"rules": [same([1, 2, 3], max_conflicts=-1)]}, "max_conflicts must be ≥ 0, got -1"),
        ({"slots": [Slot(0), Slot(0)]}, "two slots are at position 0"),
        ({"slots": [Slot(3)]}, "slot 0 is at position 3 of 3"),
        ({"slots": [Slot(-1)]}, "a slot is at position -1"),
        ({"slots": [Slot(1, np.zeros(2, bool))]}, "members has shape"),
        ({"is_slot_only": np.zeros(4, bool)}, "is_slot_only has shape"),
    ],
)
def test_arrange_refuses_wrong_rules_and_slots(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arrange(**{"n_items": 3, "k": 3, "rules": [], **changes})


def test_rule_from_values_separates_equal_values() -> None:
    songs, creators = [1, 1, 2, 2, 3], [7, 8, 7, 9, 9]
    rules = [NeighbourRule.from_values(songs), NeighbourRule.from_values(creators)]
    result = arrange(5, rules, 5)
    assert result.indices.tolist() == [0, 3, 1, 2, 4] and result.violations == ()


def test_rule_from_values_allows_max_count_values_in_a_window() -> None:
    values = np.array([-7, -7, -7, 1, 2, 3, 4])
    result = arrange(7, [NeighbourRule.from_values(values, window=4, max_count=2)], 7)
    assert values[result.indices].tolist() == [-7, -7, 1, 2, -7, 3, 4]


def test_rule_from_values_counts_shown_items() -> None:
    rules = [
        NeighbourRule.from_values([1, 2, 3, 4], shown=[5, 1]),
        NeighbourRule.from_values([7, 7, 8, 9], window=10, max_count=2, shown=[7, 7]),
    ]
    result = arrange(4, rules, 4)
    assert result.indices.tolist() == [1, 0, 2, 3] and result.violations == ((0, 1, 1), (1, 1, 2))
    assert arrange(4, rules, 2).indices.tolist() == [2, 3]


def test_rule_from_values_of_no_items_arranges_an_empty_list() -> None:
    assert arrange(0, [NeighbourRule.from_values([])], 0).indices.tolist() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": ["x"]}, "values has shape"),
        ({"values": [[1]]}, r"values has shape \(1, 1\)"),
        ({"shown": [0.5]}, "shown has shape .* and dtype float64"),
        ({"window": 1}, "window 1 and max_count 1"),
        ({"window": 3, "max_count": 3}, "window 3 and max_count 3"),
        ({"max_count": 0}, "max_count must be positive, got 0"),
    ],
)
def test_rule_from_values_refuses_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighbourRule.from_values(**{"values": [1], **changes})


@pytest.mark.parametrize("name", ["window", "max_count"])
@pytest.mark.parametrize("value", [2.5, "2", None, 2**63, 2**70])
def test_rule_from_values_refuses_numbers_that_are_not_whole(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must (be a whole number|fit 64 bits), got"):
        NeighbourRule.from_values([1], **{"window": 9, name: value})
