"""Users needed: the formula agrees with the power of drawn experiments, and finds no effect of equal arms."""

import numpy as np
import pytest

from karec.lab.studies.interleaving import UserPages, compare

N, K = 300, 10


def pages_of(first_rate, second_rate, seed=0):
    """Users differ in their rates; the teams alternate."""
    rng = np.random.default_rng(seed)
    scale = rng.gamma(2.0, 0.5, (N, 1)).clip(0.1, 3.0)
    first, second = (
        np.broadcast_to(scale * rate, (N, K)).astype(float) for rate in (first_rate, second_rate)
    )
    is_second = rng.permuted(np.tile([False, True], (N, K // 2)), axis=1)
    return UserPages(first, second, np.where(is_second, second, first), is_second)


def test_drawn_experiments_of_the_needed_size_have_power_of_80_percent():
    result = compare(pages_of(0.2, 0.25), 0)
    assert result["effect"] == pytest.approx(0.25) and result["share"] == pytest.approx(0.25 / 0.45)
    assert 0.73 < result["ab_power"] < 0.87 and 0.73 < result["interleaved_power"] < 0.87
    assert result["factor"] > 2 and result["low"] <= result["factor"] <= result["high"]


def test_users_needed_equal_the_textbook_formula_for_users_who_are_alike():
    p, q = 0.2, 0.3
    pages = UserPages(np.full((N, 1), p), np.full((N, 1), q), np.full((N, 1), q), np.ones((N, 1), bool))
    ab_users, users = pages.users_needed()
    assert ab_users == pytest.approx(
        2 * (1.959964 + 0.841621) ** 2 * (p * (1 - p) + q * (1 - q)) / 0.01, rel=1e-5
    )
    assert users == pytest.approx((1.959964 + 0.841621) ** 2 * q * (1 - q) / q**2, rel=1e-5)
