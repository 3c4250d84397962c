"""Tests of the diversity measures against plain loops."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.metrics import diversity


@st.composite
def lists(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    f = rng.standard_normal((draw(st.integers(0, 25)), 4)).astype(np.float32)
    if len(f) > 2 and draw(st.booleans()):
        f[0], f[1] = 0, f[2] * 3
    return f


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b) / lengths if lengths > 0 else 0.0


@given(lists())
def test_intra_list_distance_equals_plain_loops(f):
    f = f.astype(float)
    cosines = [cosine(a, b) for a, b in combinations(f, 2)]
    expected = np.mean([1 - c for c in cosines]) if cosines else 0.0
    assert diversity.intra_list_distance(f) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_difference(counts):
    x = np.array(counts, float)
    differences = np.abs(x[:, None] - x[None, :]).mean()
    expected = differences / (2 * x.mean()) if x.sum() else 0.0
    assert diversity.gini(x) == pytest.approx(expected)
