"""The law of prices: a plain float64 loop beside it, its bounds, and what it must add up to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.exposure.control import LEAST_W, Law

feeds = st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=60)
shares = st.floats(0, 1)
rates = st.floats(1e-6, 1)
bounds = st.floats(1e-3, 10)


def lived(law, share, feeds):
    prices = np.zeros(1)
    for shown, n in feeds:
        prices = law.moved(prices, np.array([share]), np.array([shown], np.float64), n)
    return prices[0]


@given(rates, bounds, shares, feeds)
def test_prices_never_leave_their_bounds(rate, bound, share, feeds):
    assert abs(lived(Law(rate, bound), share, feeds)) <= bound


@given(rates, bounds, st.floats(0.001, 1), feeds)
def test_a_caps_price_never_leaves_zero_to_bound(rate, bound, share, feeds):
    law, price = Law(rate, bound), 0.0
    for shown, n in feeds:
        price = law.capped(price, share, shown, n)
        assert 0 <= price <= bound


@given(rates, bounds, shares, feeds)
def test_dual_ascent_adds_up_what_was_shown_beyond_the_share(rate, bound, share, feeds):
    price, w = 0.0, max(share * (1 - share), LEAST_W)
    for shown, n in feeds:
        price = min(max(price + rate * (shown - share * n) / (10 * w), -bound), bound)
    assert lived(Law(rate, bound), share, feeds) == pytest.approx(price, rel=1e-9, abs=1e-9)


@given(rates, bounds, st.floats(0.01, 1), st.floats(0, 10), st.integers(1, 50), st.integers(1, 50))
def test_a_cap_comes_down_the_same_in_one_step_as_in_many(rate, bound, share, price, n, m):
    law, price = Law(rate, bound), min(price, bound)
    in_steps = law.capped(law.capped(price, share, 0, n), share, 0, m)
    assert law.capped(price, share, 0, n + m) == pytest.approx(in_steps, abs=1e-9)


def test_every_share_has_the_same_pace():
    """A group whose share answers its price by −s·(1 − s) a unit settles as fast for every s."""
    law = Law(0.01, 3.0)
    left = []
    for share in (0.05, 0.3, 0.6):
        prices = np.zeros(1)
        for _ in range(100):
            natural = share + share * (1 - share) * (0.5 - prices[0])  # half a deviation too much
            prices = law.moved(prices, np.array([share]), np.array([10 * natural]), 10)
        left.append(0.5 - prices[0])
    np.testing.assert_allclose(left, 0.5 * np.exp(-1), rtol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 3.0), "rate must be above 0 and at most 1, got 0.0"),
        ((1.5, 3.0), "rate must be above 0 and at most 1, got 1.5"),
        ((float("nan"), 3.0), "rate must be above 0 and at most 1, got nan"),
        ((0.01, 0.0), "bound must be above 0 and at most 100 standard deviations, got 0.0"),
        ((0.01, 101.0), "bound must be above 0 and at most 100 standard deviations, got 101.0"),
    ],
)
def test_a_law_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Law(*arguments)
