"""merge_rows: the contract of merge_rows.pyi, against a plain walk with a dictionary."""

import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plain_merge import plain_merge

from karec.kernels.merge import merge_channels
from karec.kernels.merge_rows import MOST_CHANNELS, merge_rows

N_ROWS = 9
# others have none
ROW_OF = {work: row for row, work in enumerate((3, 1, -(2**63), 12, 2**63 - 1, 5, 0, 7, 2))}


def rows_of(works):
    return np.array([ROW_OF.get(int(work), -1) for work in works], np.int32)


def merged(channels, quotas, limit, floors=None, left_out=()):
    ids = [np.array([work for work, _ in channel], np.int64) for channel in channels]
    scores = [np.array([score for _, score in channel], np.float32) for channel in channels]
    left_out = np.array(left_out, np.int64)
    rows = [rows_of(part) for part in ids]
    result = merge_rows(ids, scores, rows, N_ROWS, quotas, limit, floors, left_out, rows_of(left_out))
    assert [entry.dtype for entry in result] == [np.int64, np.float32, np.int32, np.uint32]
    assert result[2].tolist() == rows_of(result[0]).tolist()
    return list(zip(*(result[at].tolist() for at in (0, 1, 3)), strict=True))


works = st.one_of(st.integers(0, 14), st.sampled_from([-(2**63), 2**63 - 1, 2**40]))
channel_lists = st.lists(st.tuples(works, st.floats(-8, 8, width=32)), max_size=24)
cases = st.lists(st.tuples(channel_lists, st.integers(0, 30)), max_size=10)


@given(
    cases,
    st.lists(st.integers(0, 30), min_size=10, max_size=10),
    st.lists(works, max_size=6),
    st.integers(0, 30),
)
@example([([(1, 1.0), (8, 0.5)], 2), ([(8, 3.0), (1, 2.0), (9, 1.0)], 2)], [0] * 10, [1], 2)
def test_merge_rows_equals_a_plain_walk(case, floors, left_out, room):
    channels, quotas = [channel for channel, _ in case], [quota for _, quota in case]
    floors = [min(floor, quota) for floor, quota in zip(floors, quotas, strict=False)]
    limit = max(sum(floors), 1) + room
    assert merged(channels, quotas, limit, floors, left_out) == plain_merge(
        channels, quotas, limit, floors, left_out
    )


def test_merge_rows_clears_the_marks_of_its_thread():
    one, other = [(1, 1.0), (2, 1.0), (8, 1.0)], [(2, 3.0), (3, 1.0)]
    assert merged([one, other], [3, 2], 2, left_out=[3]) == [(1, 1.0, 1), (2, 1.0, 3)]
    with pytest.raises(ValueError, match="the row 9 is not in −1 … 8"):
        merge_rows([np.array([1, 4])], [np.ones(2, "f4")], [np.array([1, 9], "i4")], N_ROWS, [2], 2)
    assert merged([other, one] + [[]] * 8, [2, 3] + [0] * 8, 9) == [
        (2, 3.0, 3),
        (3, 1.0, 1),
        (1, 1.0, 2),
        (8, 1.0, 2),
    ]
    assert merged([other, one], [2, 3], 9) == [(2, 3.0, 3), (3, 1.0, 1), (1, 1.0, 2), (8, 1.0, 2)]


@pytest.mark.parametrize("n_channels", [6, 7, 8, MOST_CHANNELS])
def test_merge_rows_equals_merge_by_ids_on_several_threads(n_channels):
    rng = np.random.default_rng(n_channels)
    ids = [rng.integers(0, 40_000, 9_000) for _ in range(n_channels)]
    scores = [rng.random(9_000, np.float32) for _ in range(n_channels)]
    rows = [np.where(part % 16 == 0, -1, 39_999 - part).astype(np.int32) for part in ids]
    left_out = rng.integers(0, 40_000, 3000)
    left_rows = np.where(left_out % 16 == 0, -1, 39_999 - left_out).astype(np.int32)
    quotas, floors, limit = [7_000] * n_channels, [1_500] * n_channels, 25_000
    expected = merge_channels(ids, scores, quotas, limit, floors, left_out, rows)
    answers = []

    def work():
        answers.extend(
            merge_rows(ids, scores, rows, 40_000, quotas, limit, floors, left_out, left_rows)
            for _ in range(4)
        )

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert all(np.array_equal(a, b) for answer in answers for a, b in zip(answer, expected, strict=True))


A, S, R = np.arange(3), np.zeros(3, np.float32), np.arange(3, dtype=np.int32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([A], [S], [R], 2, [1], 1), "the row 2 is not in −1 … 1"),
        (([A], [S], [R - 2], 3, [1], 1), "the row -2 is not in −1 … 2"),
        (([A], [S], [R[:2]], 3, [1], 1), r"source 0: ids has shape \(3,\), rows has shape \(2,\)"),
        (([A], [S], [R * 0.5], 3, [1], 1), r"rows of source 0 has .*float64, expected \(n,\) int32"),
        (
            ([A] * 16, [S] * 16, [R] * 16, 3, [1] * 16, 1),
            "16 .*at most 15",
        ),
        (
            ([A], [S], [R], 3, [1], 1, None, A, R[:1]),
            r"left_out has shape \(3,\), left_out_rows has shape "
            r"\(1,\)",
        ),
        (([A], [S], [R], 3, [1], 1, None, A, R + 1), "the row 3 is not in −1 … 2"),
        (([A], [S], [R], 3, [-1], 1), "quota of source 0 must not be negative, got -1"),
    ],
)
def test_merge_rows_rejects_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        merge_rows(*arguments)
