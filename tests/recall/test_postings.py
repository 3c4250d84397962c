"""Lists of works by key, best first, and how lists take turns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.recall.postings import Postings, interleave


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(0, 6), st.integers(0, 9))
def test_postings_are_sorted_lists_by_key(pairs, key, limit):
    keys = np.array([k for k, _ in pairs], np.int64)
    priority = np.array([p for _, p in pairs], np.int64)
    expected = sorted((row for row, (k, _) in enumerate(pairs) if k == key), key=lambda row: (-priority[row], row))
    assert Postings.build(keys, priority).of(key, limit).tolist() == expected[:limit]


def test_interleaving_takes_turns_and_leaves_repeats_out():
    lists = [np.array([1, 2, 3]), np.array([9, 1]), np.array([2])]
    assert interleave(lists, 10).tolist() == [1, 9, 2, 3]
    assert interleave(lists, 2).tolist() == [1, 9]
    assert interleave([], 10).tolist() == []
