"""Split of the impressions of a night into training, validation and test."""

import numpy as np
import pytest

from karec.catalog.impressions import Impressions
from karec.lab.simulate.nightly import validation_and_test

N = 1_000


def make_impressions(likes):
    """Returns N impressions; every second one is clicked, the rows ``likes`` are liked."""
    rows = np.arange(N)
    labels = {"click": (rows % 2).astype(np.uint8), "like": np.isin(rows, likes).astype(np.uint8)}
    return Impressions(rows, rows, rows, np.zeros(N, np.int64), labels, None)


@pytest.mark.parametrize(
    ("likes", "begin"),
    [
        ([10, 990], (940, 980)),
        ([10, 980], (940, 980)),
        ([10, 700], (660, 700)),
        ([], (940, 980)),
    ],
)
def test_split_has_a_rare_label_in_the_test(likes, begin):
    assert validation_and_test(make_impressions(likes), ["click", "like"]) == begin


def test_split_moves_back_if_the_test_has_one_class():
    assert validation_and_test(make_impressions(range(600, N)), ["like"]) == (559, 599)
