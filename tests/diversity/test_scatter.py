"""Rule scatter: the order changes as little as the rules need, and nothing is ever lost."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.diversity import ScatterRule, ScatterViolation, scatter


def violations_of(
    order: list[int], columns: dict[str, list[int]], rules: list[ScatterRule]
) -> list[tuple[int, ScatterRule, int]]:
    """(position, rule, count) wherever the window that ends at a position holds more of its value than
    allowed."""
    found = []
    for position, item in enumerate(order):
        for rule in rules:
            column = columns[rule.column]
            window = order[max(0, position - rule.window + 1) : position + 1]
            count = sum(column[other] == column[item] for other in window)
            if count > rule.max_count:
                found.append((position, rule, count))
    return found


lists = st.integers(0, 30).flatmap(
    lambda n: st.fixed_dictionaries(
        {name: st.lists(st.integers(-2, 4), min_size=n, max_size=n) for name in ("song", "creator")}
    )
)
rules_of = st.lists(
    st.builds(
        lambda column, window, allowed: ScatterRule(column, window, min(allowed, window - 1)),
        st.sampled_from(["song", "creator"]),
        st.integers(2, 5),
        st.integers(1, 3),
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(columns=lists, rules=rules_of, data=st.data())
def test_nothing_is_lost_and_every_violation_is_told(
    columns: dict[str, list[int]], rules: list[ScatterRule], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(columns["song"]))))
    result = scatter(order, columns, rules)
    assert sorted(result.indices.tolist()) == sorted(order)
    told = [(v.position, v.rule, v.count) for v in result.violations]
    assert told == violations_of(result.indices.tolist(), columns, rules)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=7), st.integers(1, 7))
def test_neighbours_of_one_value_stand_only_where_it_cannot_be_avoided(values: list[int], k: int) -> None:
    rule = ScatterRule("song", window=2, max_count=1)
    result = scatter(range(len(values)), {"song": values}, [rule], k=k)
    k = min(k, len(values))
    assert len(result.indices) == k
    fewest = min(
        len(violations_of(list(order), {"song": values}, [rule]))
        for order in permutations(range(len(values)), k)
    )
    assert len(result.violations) == fewest


def test_each_place_takes_the_first_that_breaks_no_rule() -> None:
    columns = {"song": [1, 1, 2, 2, 3], "creator": [7, 8, 7, 9, 9]}
    result = scatter([0, 1, 2, 3, 4], columns, [ScatterRule("song"), ScatterRule("creator")])
    assert result.indices.tolist() == [0, 3, 1, 2, 4] and result.violations == ()
    assert scatter([0, 1, 2, 3, 4], columns, []).indices.tolist() == [0, 1, 2, 3, 4]


def test_a_value_that_would_not_fit_later_goes_first() -> None:
    assert scatter(range(3), {"song": [2, 1, 1]}, [ScatterRule("song")]).indices.tolist() == [1, 0, 2]
    assert scatter(range(3), {"song": [2, 1, 1]}, [ScatterRule("song")], k=2).indices.tolist() == [0, 1]


def test_where_no_item_fits_the_least_violation_is_taken_and_told() -> None:
    rule = ScatterRule("song", window=3, max_count=1)
    result = scatter([4, 2, 0], {"song": [5, 0, 5, 0, 5]}, [rule])
    assert result.indices.tolist() == [4, 2, 0]
    assert result.violations == (ScatterViolation(1, rule, 2), ScatterViolation(2, rule, 3))


def test_a_window_counts_what_stands_before() -> None:
    values = [0, 0, 0, 1, 2, 3, 4]
    result = scatter(range(7), {"c": values}, [ScatterRule("c", window=4, max_count=2)])
    assert [values[i] for i in result.indices] == [0, 0, 1, 2, 0, 3, 4]


def test_windows_reach_back_into_what_was_shown() -> None:
    rules = [ScatterRule("song"), ScatterRule("creator", window=10, max_count=2)]
    columns = {"song": [1, 2, 3, 4], "creator": [7, 7, 8, 9]}
    shown = {"song": [5, 1], "creator": [7, 7]}
    result = scatter(range(4), columns, rules, shown=shown)
    assert result.indices.tolist()[:2] == [2, 3]
    assert [(v.position, v.rule.column, v.count) for v in result.violations] == [
        (2, "creator", 3),
        (3, "creator", 4),
    ]
    assert scatter(range(4), columns, rules, k=2, shown=shown).violations == ()
    with pytest.raises(ValueError, match="shown has \\['song'\\]"):
        scatter(range(4), columns, rules, shown={"song": [5]})
    with pytest.raises(ValueError, match="shown 'song' has shape"):
        scatter(range(4), columns, rules[:1], shown={"song": [0.5]})


@settings(max_examples=200, deadline=None)
@given(columns=lists, rules=rules_of, data=st.data())
def test_what_was_shown_counts_as_if_it_stood_before(
    columns: dict[str, list[int]], rules: list[ScatterRule], data: st.DataObject
) -> None:
    n = len(columns["song"])
    m = data.draw(st.integers(0, n))
    result = scatter(
        range(m, n), columns, rules, shown={name: column[:m] for name, column in columns.items()}
    )
    assert sorted(result.indices.tolist()) == list(range(m, n))
    whole = [*range(m), *result.indices.tolist()]
    told = [(v.position + m, v.rule, v.count) for v in result.violations]
    assert told == [found for found in violations_of(whole, columns, rules) if found[0] >= m]


BAD = [
    (([0, 0], {"c": [1]}, []), "0 stands 2 times"),
    (([0.5], {"c": [1]}, []), "dtype float64"),
    (([0, 3], {"c": [1, 2]}, [ScatterRule("c")]), "order holds 3, column 'c' has 2 rows"),
    (([-1], {"c": [1, 2]}, [ScatterRule("c")]), "order holds -1"),
    (([0], {"c": [1]}, [ScatterRule("d")]), "column 'd'; there are"),
    (([0], {"c": ["x"]}, [ScatterRule("c")]), "column 'c' has shape"),
    (([0], {"c": [1]}, [ScatterRule("c", 1, 1)]), "window 1 and max_count 1"),
    (([0], {"c": [1]}, [ScatterRule("c", 3, 3)]), "window 3 and max_count 3"),
    (([0], {"c": [1]}, [ScatterRule("c", 3, 0)]), "max_count must be positive"),
]


@pytest.mark.parametrize("value", [2.5, "2", None, 2**63, 2**70])
def test_whole_numbers_refuse_fractions_text_and_more_than_64_bits(value: Any) -> None:
    words = "must (be a whole number|fit 64 bits), got"
    with pytest.raises(TypeError, match=f"window {words}"):
        scatter([0], {"c": [1]}, [ScatterRule("c", value, 1)])
    with pytest.raises(TypeError, match=f"max_count {words}"):
        scatter([0], {"c": [1]}, [ScatterRule("c", 9, value)])
    if value is not None:
        with pytest.raises(TypeError, match=f"k {words}"):
            scatter([0], {"c": [1]}, [], k=value)


def test_the_largest_window_is_the_whole_session() -> None:
    rule = ScatterRule("c", window=2**63 - 1)
    result = scatter(range(4), {"c": [1, 1, 2, 3]}, [rule], k=2**63 - 1, shown={"c": [3]})
    assert result.indices.tolist() == [0, 2, 1, 3]
    assert [(v.position, v.count) for v in result.violations] == [(2, 2), (3, 2)]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_orders_columns_and_rules_that_do_not_fit_are_refused_by_name(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scatter(*arguments)


def test_k_0_is_refused_and_no_items_give_an_empty_result() -> None:
    with pytest.raises(ValueError, match="k must be positive, got 0"):
        scatter([0], {}, [], k=0)
    assert scatter([], {"c": []}, [ScatterRule("c")]).indices.tolist() == []
