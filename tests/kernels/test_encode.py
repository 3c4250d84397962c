"""Codes, padded histories and match counts against plain loops."""

import subprocess
import sys

import numpy as np
import pytest
from colliding_ids import keys_of_one_slot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from karec.kernels.encode import FIRST_UNSEEN, Vocabulary, count_matches, padded_histories

ids = st.integers(0, 2**63 - 1) | st.integers(0, 20)


@given(st.lists(ids, unique=True, max_size=50), st.lists(ids | st.just(-1), max_size=50))
def test_codes_follow_the_keys_and_unseen_ids_keep_apart(keys, wanted):
    codes = Vocabulary(np.array(keys, np.int64)).encode(np.array(wanted, np.int64))
    for id, code in zip(wanted, codes, strict=True):
        if id < 0:
            assert code == 0
        elif id in keys:
            assert code == keys.index(id) + 1
        else:
            assert code >= FIRST_UNSEEN
    unseen = {id: code for id, code in zip(wanted, codes, strict=True) if code >= FIRST_UNSEEN}
    assert len(set(unseen.values())) == len(unseen)
    assert all(unseen.get(id, code) == code for id, code in zip(wanted, codes, strict=True))


@given(st.data(), st.integers(0, 30), st.integers(1, 6))
def test_histories_are_newest_first_and_padded(data, n_values, width):
    values = np.arange(n_values) + 100
    bounds = st.tuples(st.integers(0, n_values), st.integers(0, n_values)).map(sorted)
    rows = data.draw(st.lists(bounds, max_size=5))
    starts, ends = np.array(rows, np.int64).reshape(-1, 2).T
    padded = padded_histories(values, starts, ends, width)
    assert padded.shape == (len(rows), width)
    for row, (start, end) in zip(padded, rows, strict=True):
        expected = values[start:end][::-1][:width].tolist()
        assert row.tolist() == expected + [-1] * (width - len(expected))


@given(
    st.sampled_from([1, 4]),
    arrays(np.int64, (4, 5, 3), elements=st.integers(0, 3)),
    arrays(np.int64, (4, 2, 3), elements=st.integers(0, 3)),
    arrays(np.int64, (4, 3), elements=st.integers(0, 3)),
)
def test_matches_are_counted_column_by_column(n_users, history, skipped, items):
    found = count_matches(history[:n_users], skipped[:n_users], items)
    assert found.dtype == np.float32
    for n in range(4):
        user = n if n_users > 1 else 0
        for i in range(3):
            code = items[n, i]
            kept, passed = history[user, :, i], skipped[user, :, i]
            newest = [1 / (1 + list(codes).index(code)) if code in codes else 0 for codes in (kept, passed)]
            expected = [(kept == code).sum(), (passed == code).sum(), *newest]
            assert found[n, :, i].tolist() == pytest.approx(expected if code else [0] * 4)


def test_repeated_negative_and_float_ids_and_bounds_beyond_the_values_are_refused():
    with pytest.raises(ValueError, match="7 stands twice"):
        Vocabulary(np.array([7, 3, 7]))
    with pytest.raises(ValueError, match=r"keys\[1\] is -3"):
        Vocabulary(np.array([7, -3]))
    with pytest.raises(ValueError, match="float64"):
        Vocabulary(np.array([1])).encode(np.array([1.5]))
    with pytest.raises(ValueError, match=r"row 1 asks for 0…4 of 3 values"):
        padded_histories(np.arange(3), np.array([0, 0]), np.array([3, 4]), 2)
    with pytest.raises(ValueError, match="width"):
        padded_histories(np.arange(3), np.array([0]), np.array([3]), 0)
    codes = np.zeros((2, 3, 4), np.int64)
    with pytest.raises(ValueError, match=r"history has shape \(2, 3, 4\), items has shape \(5, 4\)"):
        count_matches(codes, codes, np.zeros((5, 4), np.int64))


@pytest.mark.parametrize(
    ("start", "end"), [(0, -1), (1, -(2**63)), (-1, 2), (2, 1), (2**63 - 1, -(2**63)), (0, 2**63 - 1)]
)
def test_a_row_outside_the_values_is_refused(start, end):
    """Once ends below 0 were not: end − start wrapped, and the row held what lay before the values."""
    with pytest.raises(ValueError, match=f"row 1 asks for {start}…{end} of 3 values"):
        padded_histories(np.arange(3), np.array([0, start]), np.array([3, end]), 2)


def test_a_vocabulary_keeps_its_own_keys():
    """Once it held the caller's array: writing to that changed what was found, and looked outside the table."""
    keys = np.array([7, 3, 9])
    vocabulary = Vocabulary(keys)
    keys[:] = 1
    assert vocabulary.keys.tolist() == [7, 3, 9]
    assert vocabulary.encode(np.array([3, 7, 9])).tolist() == [2, 1, 3]
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.keys[0] = 1


def test_an_empty_vocabulary_knows_nothing():
    assert (Vocabulary(np.empty(0, np.int64)).encode(np.array([0, 5])) >= FIRST_UNSEEN).all()


def test_keys_that_were_chosen_to_meet_in_one_slot_have_codes_as_any_others():
    keys = keys_of_one_slot(20_000)
    vocabulary = Vocabulary(keys[::2])
    assert vocabulary.encode(keys[::2]).tolist() == list(range(1, 10_001))
    assert (vocabulary.encode(keys[1::2]) >= FIRST_UNSEEN).all()


def test_a_million_keys_that_were_chosen_to_meet_in_one_slot_do_not_hang_the_process():
    """Placed one after the other in one slot they would take 5·10¹¹ steps."""
    program = (
        "from colliding_ids import keys_of_one_slot\n"
        "from karec.kernels.encode import Vocabulary\n"
        "Vocabulary(keys_of_one_slot(1_000_000))"
    )
    path = f"import sys; sys.path[:] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-c", path + program], check=True, timeout=60)
