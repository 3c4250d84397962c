"""Lists of items by key, best first, and their interleaving."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from random_platform import make_platform

from karec.steps.shared.postings import (
    Postings,
    Spans,
    descending,
    interleave,
    latest_of_users,
    newest_by_creator,
    users_by,
    works_by,
)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))), st.integers(-1, 6), st.integers(0, 9))
def test_postings_are_sorted_lists_by_key(pairs, key, limit):
    keys = np.array([k for k, _ in pairs], np.int64)
    priority = np.array([p for _, p in pairs], np.int64)
    expected = sorted(
        (row for row, (k, _) in enumerate(pairs) if k == key), key=lambda row: (-priority[row], row)
    )
    assert Postings.build(keys, priority).rows_of(key, limit).tolist() == expected[:limit]


@given(st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2**16, 2**33, 2**48 + 1, 2**63 - 1]), max_size=9))
def test_postings_accept_any_int64_keys(keys):
    lists = Postings.build(np.array(keys, np.int64), np.arange(len(keys))[::-1])
    assert lists.keys.tolist() == sorted(set(keys)) and lists.rows.dtype == np.int32
    for key in set(keys):
        assert lists.rows_of(key, 9).tolist() == [row for row, of in enumerate(keys) if of == key]


@given(st.lists(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 5e-324, 1.0, np.inf, np.nan]), max_size=40))
def test_descending_sorts_ties_by_row_and_nan_last(values):
    unknown = [row for row, value in enumerate(values) if np.isnan(value)]
    known = [row for row, value in enumerate(values) if not np.isnan(value)]
    expected = [*sorted(known, key=lambda row: (-values[row], row)), *unknown]
    assert descending(np.array(values, np.float64)).tolist() == expected


def test_descending_equals_a_stable_sort():
    values = np.random.default_rng(0).integers(0, 50, 20_000).astype(np.float64)
    result = descending(values)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, np.argsort(-values, kind="stable"))


def test_interleave_alternates_and_skips_repeats(platform):
    """Other tests cover the kernel. This one checks that spans of two arrays are read as their lists."""
    some = Spans(np.array([9, 4, 4, 0], np.int32), np.array([0, 3]), np.array([2, 4]), np.array([2, 4]))
    other = Spans(np.array([4, 7], np.int32), np.array([0]), np.array([2]), np.array([2]))
    rows = interleave(platform, [some, other], 9)
    assert rows.dtype == np.int32 and rows.tolist() == [9, 0, 4, 7]
    assert interleave(platform, [some, other], 2).tolist() == [9, 0] and not len(interleave(platform, [], 5))


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_latest_of_users_lists_known_items_latest_first(seed, limit):
    platform = make_platform(seed, n_works=9, counters=(), family=False)
    lists = latest_of_users(platform, "history")
    rows = {int(work): row for row, work in enumerate(platform.works.ids)}
    for user in range(len(platform.users)):
        of = platform.relations["history"].row_values(user)[::-1].tolist()
        expected = [rows[work] for work in of if work in rows]
        array, begins, ends, stops = lists.spans(np.array([user]), limit)
        assert array[begins[0] : stops[0]].tolist() == expected
        assert array[begins[0] : ends[0]].tolist() == lists.rows_of(user, limit).tolist() == expected[:limit]
    assert latest_of_users(platform, "history") is lists and latest_of_users(platform, "nothing") is None


@given(st.lists(st.integers(0, 5), max_size=9), st.lists(st.integers(-1, 6), max_size=5), st.integers(0, 4))
def test_spans_of_postings_are_the_lists_of_their_keys(key_of_work, keys, limit):
    lists = Postings.build(np.array(key_of_work, np.int64), np.arange(len(key_of_work))[::-1])
    rows, begins, ends, stops = lists.spans(np.array(keys, np.int64), limit)
    expected = [[row for row, of in enumerate(key_of_work) if of == key] for key in keys]
    assert [rows[b:e].tolist() for b, e in zip(begins, stops, strict=True)] == expected
    assert [rows[b:e].tolist() for b, e in zip(begins, ends, strict=True)] == [of[:limit] for of in expected]


def test_postings_are_built_once_per_snapshot():
    platform = make_platform(seed=3, n_works=20, counters=("count_click",), family=True)
    for build in (lambda: works_by(platform, "tag"), lambda: newest_by_creator(platform)):
        assert build() is build()
    assert users_by(platform, "family") is users_by(platform, "family")
    assert works_by(platform, "tag") is not works_by(platform, "song_id")
    assert users_by(make_platform(seed=3, n_works=20, counters=(), family=False), "family") is None
