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
def test_pairwise_measures_equal_plain_loops(f):
    f = f.astype(float)
    cosines = [cosine(a, b) for a, b in combinations(f, 2)]
    expected = np.mean([1 - c for c in cosines]) if cosines else 0.0
    assert diversity.intra_list_distance(f) == pytest.approx(expected, abs=1e-9)
    expected = np.mean([c > 0.95 for c in cosines]) if cosines else 0.0
    assert diversity.near_duplicate_share(f) == pytest.approx(expected)


@given(lists(), st.integers(2, 12))
def test_windowed_distance_is_the_mean_over_neighbors(f, window):
    windows = [f[i : i + window] for i in range(len(f) - window + 1)] or [f]
    expected = np.mean([diversity.intra_list_distance(part) for part in windows])
    assert diversity.windowed_distance(f, window) == pytest.approx(expected, abs=1e-12)


@given(lists())
def test_log_det_equals_eigenvalues_and_has_its_upper_bound(f):
    k = len(f)
    g = diversity.unit_rows(f)
    eigenvalues = np.linalg.eigvalsh(g @ g.T + 0.01 * np.eye(k)) if k else np.ones(0)
    assert diversity.log_det(f) == pytest.approx(np.log(eigenvalues).sum(), abs=1e-6)
    assert diversity.log_det(f) <= k * np.log(1.01) + 1e-9
    assert diversity.log_det(np.eye(3)) == pytest.approx(3 * np.log(1.01))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_difference(counts):
    x = np.array(counts, float)
    differences = np.abs(x[:, None] - x[None, :]).mean()
    expected = differences / (2 * x.mean()) if x.sum() else 0.0
    assert diversity.gini(x) == pytest.approx(expected)


def test_exposure_gini_includes_values_never_shown():
    assert diversity.exposure_gini(np.array([5, 5, 5]), np.array([5, 9, 9, 7])) == pytest.approx(2 / 3)
    assert diversity.exposure_gini(np.array([5, 9, 7]), np.array([5, 9, 9, 7])) == pytest.approx(0.0)
