"""in_turns equals a plain walk over the lists, as turns.pyi promises."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import in_turns as plain_turns

from karec.kernels.turns import in_turns


def interleave(lists, limit, n_rows=200, **options):
    """Calls in_turns with half of the lists in each of two arrays, with gaps between them."""
    parts, which, begins, ends = ([99], [98]), [], [], []
    for i, rows in enumerate(lists):
        which.append(i % 2)
        begins.append(len(parts[i % 2]))
        parts[i % 2].extend([*rows, 97])
        ends.append(len(parts[i % 2]) - 1)
    arrays = [np.array(part, np.int32) for part in parts]
    bounds = np.array(which, int), np.array(begins, int), np.array(ends, int)
    return in_turns(arrays, *bounds, n_rows, limit, **options)


@given(st.lists(st.lists(st.integers(0, 199), max_size=9), max_size=7), st.integers(0, 40))
def test_turns_equal_a_plain_walk(lists, limit):
    rows = interleave(lists, limit)
    assert rows.dtype == np.int32 and rows.tolist() == plain_turns(lists, limit)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 19), max_size=9), st.integers(0, 6)), max_size=7),
    st.integers(0, 40),
    st.sets(st.integers(0, 19)),
)
def test_turns_pass_over_rows_that_are_not_allowed(lists_and_limits, limit, allowed):
    lists = [rows for rows, _ in lists_and_limits]
    limits = np.array([n for _, n in lists_and_limits], np.int64)
    mask = np.isin(np.arange(20), [*allowed])
    rows = interleave(lists, limit, 20, allowed=mask, limits=limits)
    kept = [[row for row in rows if row in allowed][:n] for rows, n in lists_and_limits]
    assert rows.tolist() == plain_turns(kept, limit)
    assert interleave(lists, limit, 20, limits=limits).tolist() == plain_turns(
        [rows[:n] for rows, n in lists_and_limits], limit
    )


@pytest.mark.parametrize("row", [-1, 200])
def test_turns_reject_a_row_out_of_range_after_one_that_is_not_allowed(row):
    with pytest.raises(ValueError, match=r"a row is not in 0 … 199"):
        interleave([[3, row]], 5, allowed=np.zeros(200, bool))


def test_turns_of_many_lists_keep_their_order():
    lists = [range(100 * n, 100 * n + 40) for n in range(9, -1, -1)]
    assert (
        interleave(lists, 400, 1000).tolist()
        == np.stack([np.array(rows) for rows in lists]).T.ravel().tolist()
    )


@pytest.mark.parametrize("n_rows", [64, 65, 128])
def test_turns_accept_the_last_row(n_rows):
    assert interleave([[n_rows - 1, 0, n_rows - 1]], 5, n_rows).tolist() == [n_rows - 1, 0]


@pytest.mark.parametrize("row", [-1, 200])
def test_turns_reject_a_row_out_of_range(row):
    with pytest.raises(ValueError, match=r"a row is not in 0 … 199"):
        interleave([[3, row]], 5)


A = np.arange(4, dtype=np.int32)
ONE, Z = np.ones(1, int), np.zeros(1, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([A.reshape(2, 2)], Z, Z, ONE, 9, 9), r"arrays have shapes \[\(2, 2\)\]"),
        (([A.astype(np.int64)], Z, Z, ONE, 9, 9), "an array has dtype int64, expected int32"),
        (([A], Z, Z, np.ones(1), 9, 9), "an array has dtype float64, expected int64"),
        (([A], Z, Z, np.ones(2, int), 9, 9), r"which, begins and ends have shapes \(1,\), \(1,\) and \(2,\)"),
        (([A], ONE, Z, ONE, 9, 9), r"which holds 1 … 1, there are 1 arrays"),
        (([A], -ONE, Z, ONE, 9, 9), r"which holds -1 … -1"),
        (([A], Z, Z, 5 * ONE, 9, 9), "a list does not lie in its array"),
        (([A], Z, 2 * ONE, ONE, 9, 9), "a list does not lie in its array"),
        (([A], Z, -ONE, ONE, 9, 9), "a list does not lie in its array"),
        (([A], Z, Z, ONE, 9, -1), "must not be negative, got -1 and 9"),
        (([A], Z, Z, ONE, -1, 1), "must not be negative, got 1 and -1"),
        (([A], Z, Z, ONE, 9, 9, np.ones(8, bool)), r"allowed has shape \(8,\), expected \(9,\)"),
        (([A], Z, Z, ONE, 9, 9, np.ones(9)), "an array has dtype float64, expected bool"),
        (([A], Z, Z, ONE, 9, 9, None, np.ones(2, int)), r"limits has shape \(2,\), expected \(1,\)"),
    ],
)
def test_turns_reject_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        in_turns(*arguments)


def test_turns_of_empty_lists_are_empty():
    none = np.empty(0, int)
    for arrays in ([], [A]):
        assert not len(in_turns(arrays, none, none, none, 9, 9))
    assert not len(in_turns([A], Z, ONE, ONE, 9, 9)) and not len(in_turns([A], Z, Z, ONE, 9, 0))


def test_turns_are_thread_safe():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 50_000, 200_000).astype(np.int32)
    ends = np.arange(1, 101) * 2000
    arguments = [rows], np.zeros(100, int), ends - 2000, ends, 50_000, 40_000
    expected, answers = in_turns(*arguments), []
    threads = [threading.Thread(target=lambda: answers.append(in_turns(*arguments))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and all(np.array_equal(answer, expected) for answer in answers)
