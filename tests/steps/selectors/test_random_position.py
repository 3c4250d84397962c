"""The first n candidates are in uniformly random order for a share of requests, by the request's id."""

import numpy as np
import pytest

from karec.pipeline.types import Candidates, Request
from karec.steps.selectors.random_position import RandomPosition

CANDIDATES = Candidates.from_ids(np.arange(8) + 100, np.linspace(1, 0, 8, dtype=np.float32))


def select(step, at, k=5):
    return step.select(Request(1, k=k, request_id=f"r{at}"), CANDIDATES)


def test_random_position_shuffles_a_share_of_requests_and_notes_n():
    selections = [select(RandomPosition(0.25, 4), at) for at in range(4000)]
    notes = {"randomised": [100, 101, 102, 103]}
    is_random = np.array([selection.notes == notes for selection in selections])
    assert abs(is_random.mean() - 0.25) < 0.03
    for selection, was_random in zip(selections, is_random, strict=True):
        assert sorted(selection.indices[:4]) == [0, 1, 2, 3] and selection.indices[4:].tolist() == [4]
        assert selection.scores is None
        assert was_random or (selection.notes == {} and selection.indices.tolist() == [0, 1, 2, 3, 4])


@pytest.mark.parametrize("k", [3, 5])
def test_each_first_item_is_at_each_position_with_probability_1_in_n(k):
    counts = np.zeros((6, k))
    for at in range(6000):
        counts[select(RandomPosition(1.0, 6), at, k).indices, np.arange(k)] += 1
    assert np.abs(counts / 6000 - 1 / 6).max() < 5 * np.sqrt(1 / 6 * 5 / 6 / 6000)


def test_random_position_repeats_its_order_for_the_same_request_id():
    step = RandomPosition(1.0, 6)
    orders = [select(step, at).indices.tolist() for at in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]


def test_random_position_notes_the_number_of_candidates_if_n_is_larger():
    selection = select(RandomPosition(1.0, 1000), 1, k=50)
    assert selection.notes == {"randomised": [*range(100, 108)]} and sorted(selection.indices) == [*range(8)]
    nothing = RandomPosition(1.0, 3).select(Request(1), Candidates.empty())
    assert len(nothing.indices) == 0


@pytest.mark.parametrize(
    ("share", "n", "message"),
    [
        (0.0, 2, "share must be above 0 and at most 1, got 0.0"),
        (1.5, 2, "share must be above 0 and at most 1, got 1.5"),
        (0.5, 1, "n must be at least 2, got 1"),
    ],
)
def test_random_position_rejects_a_share_or_n_out_of_range(share, n, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        RandomPosition(share, n)
