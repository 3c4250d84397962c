"""When requests are due."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from karec.load.schedule import moments

RATES = st.floats(0.5, 2000)
SECONDS = st.floats(0.05, 5)


@given(rate=RATES, seconds=SECONDS, even=st.booleans(), seed=st.integers(0, 9))
def test_moments_rise_and_lie_within_the_run(rate, seconds, even, seed):
    due = moments(rate, seconds, even, np.random.default_rng(seed))
    assert (np.diff(due) >= 0).all()
    assert ((due >= 0) & (due < seconds)).all()


@given(rate=RATES, seconds=SECONDS)
def test_even_moments_have_one_distance(rate, seconds):
    due = moments(rate, seconds, True, np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(due), 1 / rate)
    assert abs(len(due) - rate * seconds) < 1 + 1e-6


def test_a_seed_gives_the_same_moments():
    one, same, other = (moments(100, 5, False, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_arrivals_are_those_of_a_poisson_process():
    """Distances are exponential, of mean 1/rate, and counts of a second have their mean as variance."""
    due = moments(1000, 60, False, np.random.default_rng(3))
    gaps, counts = np.diff(due), np.bincount(due.astype(int), minlength=60)
    assert abs(gaps.mean() * 1000 - 1) < 0.02 and abs(gaps.std() * 1000 - 1) < 0.03
    assert abs(np.mean(gaps > 0.001) - np.exp(-1)) < 0.01
    assert 0.5 < counts.var() / counts.mean() < 1.8
