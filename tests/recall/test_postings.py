"""Lists of works by key, best first, and how lists take turns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from plain_recall import in_turns
from random_platform import make_platform

from karec.recall.postings import Postings, interleave, newest_by_creator, users_by_family, works_by


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(-1, 6), st.integers(0, 9))
def test_postings_are_sorted_lists_by_key(pairs, key, limit):
    keys = np.array([k for k, _ in pairs], np.int64)
    priority = np.array([p for _, p in pairs], np.int64)
    expected = sorted((row for row, (k, _) in enumerate(pairs) if k == key), key=lambda row: (-priority[row], row))
    assert Postings.build(keys, priority).of(key, limit).tolist() == expected[:limit]


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=6), st.integers(0, 30))
def test_interleaving_takes_turns_and_leaves_repeats_out(lists, limit):
    rows = interleave([np.array(part, np.int64) for part in lists], limit)
    assert rows.dtype == np.int64 and rows.tolist() == in_turns(lists, limit)


def test_many_lists_take_turns_in_their_own_order():
    """Above 16 entries a sort that is not stable shows."""
    lists = [np.arange(100 * at, 100 * at + 40) for at in range(9, -1, -1)]
    assert interleave(lists, 400).tolist() == np.stack(lists).T.ravel().tolist()


def test_lists_are_built_once_for_a_snapshot():
    platform = make_platform(seed=3, n_works=20, counters=("count_click",), family=True)
    for build in (lambda: works_by(platform, "tag"), lambda: newest_by_creator(platform)):
        assert build() is build()
    assert users_by_family(platform) is users_by_family(platform)
    assert works_by(platform, "tag") is not works_by(platform, "song_id")
    assert users_by_family(make_platform(seed=3, n_works=20, counters=(), family=False)) is None
