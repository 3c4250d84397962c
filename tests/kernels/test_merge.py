"""merge_channels: the contract of merge.pyi, against a plain walk with a dictionary."""

import threading

import numpy as np
import pytest
from colliding_ids import keys_of_one_slot
from hypothesis import example, given
from hypothesis import strategies as st
from plain_merge import plain_merge

from karec.kernels.merge import MAX_CHANNELS, merge_channels, sole_counts


def merge(channels, quotas, limit):
    ids = [np.array([work for work, _ in channel], np.int64) for channel in channels]
    scores = [np.array([score for _, score in channel], np.float32) for channel in channels]
    ids, scores, _, sources = merge_channels(ids, scores, quotas, limit)
    return ids, scores, sources


def row_of(work):
    return abs(int(work)) % 1000


works = st.one_of(st.integers(0, 12), st.integers(-(2**63), 2**63 - 1))
channel_lists = st.lists(st.tuples(works, st.floats(-8, 8, width=32)), max_size=24)
cases = st.lists(st.tuples(channel_lists, st.integers(0, 30)), max_size=6)


@given(cases, st.integers(1, 60))
@example([([(1, 1.0), (2, 0.5)], 2), ([(2, 3.0), (3, 2.0), (1, 1.0)], 2)], 2)
@example([([(-(2**63), 0.0), (2**63 - 1, 0.0)], 2)], 1)
def test_merge_equals_a_plain_walk(case, limit):
    channels, quotas = [channel for channel, _ in case], [quota for _, quota in case]
    ids, scores, sources = merge(channels, quotas, limit)
    assert (ids.dtype, scores.dtype, sources.dtype) == (np.int64, np.float32, np.uint32)
    assert list(zip(ids.tolist(), scores.tolist(), sources.tolist(), strict=True)) == plain_merge(
        channels, quotas, limit
    )


@given(
    cases,
    st.lists(st.integers(0, 30), min_size=6, max_size=6),
    st.lists(works, max_size=6),
    st.integers(0, 30),
)
def test_merge_with_floors_and_left_out_equals_a_plain_walk(case, floors, left_out, room):
    channels, quotas = [channel for channel, _ in case], [quota for _, quota in case]
    floors = [min(floor, quota) for floor, quota in zip(floors, quotas, strict=False)]
    limit = max(sum(floors), 1) + room
    ids = [np.array([work for work, _ in channel], np.int64) for channel in channels]
    scores = [np.array([score for _, score in channel], np.float32) for channel in channels]
    rows = [
        np.array([row_of(work) for work in channel], np.int32) if c % 2 else None
        for c, channel in enumerate(ids)
    ]
    result = merge_channels(ids, scores, quotas, limit, floors, np.array(left_out, np.int64), rows)
    merged_rows = list(zip(*(result[i].tolist() for i in (0, 1, 3)), strict=True))
    source_of_rows = [
        min(c for c in range(len(ids)) if bits >> c & 1 and work in ids[c]) for work, _, bits in merged_rows
    ]
    for work, row, source in zip(result[0].tolist(), result[2].tolist(), source_of_rows, strict=True):
        assert row == (row_of(work) if source % 2 else -1) or any(floors)
        assert row in (-1, row_of(work))
    assert merged_rows == plain_merge(channels, quotas, limit, floors, left_out)
    assert not {work for work, *_ in merged_rows} & set(left_out)
    for c, floor in enumerate(floors):
        allowed = {work for work, _ in channels[c]} - set(left_out)
        within_quota = {work for work, _ in channels[c][: quotas[c]]}
        if len(within_quota) == min(quotas[c], len(channels[c])) and not within_quota & set(left_out):
            assert sum(bits >> c & 1 for *_, bits in merged_rows) >= min(
                floor, len(channels[c]), len(allowed)
            )


def test_merge_has_a_bit_for_the_last_of_32_sources():
    one = np.array([5], np.int64)
    *_, sources = merge_channels(
        [one] * MAX_CHANNELS, [np.zeros(1, np.float32)] * MAX_CHANNELS, [1] * MAX_CHANNELS, 4
    )
    assert sources.tolist() == [2**32 - 1]


def test_merge_of_no_or_empty_sources_is_empty():
    for channels in ([], [[]], [[(1, 1.0)]]):
        ids, scores, sources = merge(channels, [0] * len(channels), 5)
        assert len(ids) == len(scores) == len(sources) == 0


def test_merge_accepts_strided_readonly_and_narrow_input():
    ids = np.arange(10, dtype=np.int32)[::2]
    scores = np.ones(10, np.float64)[::2]
    ids.flags.writeable = False
    assert merge_channels([ids], [scores], [5], 5)[0].tolist() == [0, 2, 4, 6, 8]


def test_merge_is_thread_safe():
    rng = np.random.default_rng(1)
    channels = [rng.integers(0, 30_000, 20_000) for _ in range(4)]
    scores = [np.zeros(20_000, np.float32)] * 4
    expected = merge_channels(channels, scores, [9000] * 4, 30_000)
    answers = []

    def work():
        answers.extend(merge_channels(channels, scores, [9000] * 4, 30_000) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert all(np.array_equal(a, b) for answer in answers for a, b in zip(answer, expected, strict=True))


A, S = np.arange(3), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([A.reshape(1, 3)], [S], [1], 1), r"ids of source 0 has shape \(1, 3\).*expected \(n,\) int64"),
        (
            ([A], [S.reshape(3, 1)], [1], 1),
            r"scores of source 0 has shape \(3, 1\).*expected \(n,\) "
            r"float32",
        ),
        (([A + 0.5], [S], [1], 1), r"dtype float64, expected \(n,\) int64"),
        (([A], [S + 1j], [1], 1), r"dtype complex64, expected \(n,\) float32"),
        (([A.astype(np.uint64)], [S], [1], 1), r"dtype uint64, expected \(n,\) int64"),
        (([A, A], [S, S[:2]], [1, 1], 1), r"source 1: ids has shape \(3,\), scores has shape \(2,\)"),
        (([A], [S], [1, 1], 1), "1 lists of ids, 1 of scores, 2 quotas and 1 floors"),
        (([A], [S], [-1], 1), "quota of source 0 must not be negative, got -1"),
        (([A], [S], [1], 0), "limit must be in"),
        (([A], [S], [1], 2**31), "limit must be in"),
        (([A] * 33, [S] * 33, [1] * 33, 1), "33 sources, expected at most 32"),
        (([A], [S], [2], 3, [3]), r"the floor of source 0 must be in 0…2, its quota, got 3"),
        (([A], [S], [2], 3, [-1]), r"the floor of source 0 must be in 0…2, its quota, got -1"),
        (([A, A], [S, S], [2, 2], 3, [2, 2]), "the floors sum to 4, the limit is 3"),
        (([A], [S], [2], 3, None, A * 0.5), r"ids of source left out has .*float64, expected \(n,\) int64"),
    ],
)
def test_merge_rejects_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        merge_channels(*arguments)


def test_merge_of_colliding_ids_is_correct():
    """One after the other in one slot, a million works would take 5·10¹¹ steps."""
    ids = keys_of_one_slot(1_000_000)
    scores = np.ones(len(ids), np.float32)
    merged, _, _, sources = merge_channels([ids, ids[::-1]], [scores, scores], [len(ids), len(ids)], len(ids))
    assert np.array_equal(merged, ids)
    assert (sources == 3).all()


@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 31).map(lambda bit: 1 << bit)), st.integers(0, 32))
def test_sole_counts_items_of_one_source(sources, n_channels):
    counts = sole_counts(np.array(sources, np.uint32), n_channels)
    assert counts.tolist() == [sources.count(1 << channel) for channel in range(n_channels)]
