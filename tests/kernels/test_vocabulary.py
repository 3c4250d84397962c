"""Codes of a vocabulary against plain loops."""

import numpy as np
import pytest
from colliding_ids import keys_of_one_slot
from hypothesis import given
from hypothesis import strategies as st

from karec import _native
from karec.features.vocabulary import FIRST_UNSEEN

ids = st.integers(0, 2**63 - 1) | st.integers(0, 20)


@given(st.lists(ids, unique=True, max_size=50), st.lists(ids | st.integers(-(2**63), -1), max_size=50))
def test_vocabulary_codes_follow_the_keys(keys, expected):
    codes = _native.Vocabulary(np.array(keys, np.int64)).encode(np.array(expected, np.int64))
    for id, code in zip(expected, codes, strict=True):
        if id < 0:
            assert code == 0
        elif id in keys:
            assert code == keys.index(id) + 1
        else:
            assert code >= FIRST_UNSEEN
    unseen = {id: code for id, code in zip(expected, codes, strict=True) if code >= FIRST_UNSEEN}
    assert len(set(unseen.values())) == len(unseen)
    assert all(unseen.get(id, code) == code for id, code in zip(expected, codes, strict=True))


class NoArray:
    def __array__(self, *_, **__):
        raise RuntimeError("no")


@pytest.mark.parametrize("keys", [[[1], [2, 3]], NoArray()])
def test_vocabulary_rejects_keys_that_are_not_an_array(keys):
    with pytest.raises((ValueError, RuntimeError)):
        _native.Vocabulary(keys)


def test_vocabulary_rejects_repeated_negative_and_float_ids():
    with pytest.raises(ValueError, match="7 appears twice"):
        _native.Vocabulary(np.array([7, 3, 7]))
    with pytest.raises(ValueError, match=r"keys\[1\] is -3"):
        _native.Vocabulary(np.array([7, -3]))
    with pytest.raises(ValueError, match="float64"):
        _native.Vocabulary(np.array([1])).encode(np.array([1.5]))


def test_vocabulary_copies_its_keys():
    """Without a copy, a write to the caller's array changes the codes and reads outside of the table."""
    keys = np.array([7, 3, 9])
    vocabulary = _native.Vocabulary(keys)
    keys[:] = 1
    assert vocabulary.keys.tolist() == [7, 3, 9]
    assert vocabulary.encode(np.array([3, 7, 9])).tolist() == [2, 1, 3]
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.keys[0] = 1


def test_empty_vocabulary_has_no_codes():
    assert (_native.Vocabulary(np.empty(0, np.int64)).encode(np.array([0, 5])) >= FIRST_UNSEEN).all()


def test_vocabulary_of_colliding_keys_is_correct():
    """One after the other in one slot, half a million keys would take 10¹¹ steps."""
    keys = keys_of_one_slot(1_000_000)
    vocabulary = _native.Vocabulary(keys[::2])
    assert vocabulary.encode(keys[::2]).tolist() == list(range(1, 500_001))
    assert (vocabulary.encode(keys[1::2]) >= FIRST_UNSEEN).all()
