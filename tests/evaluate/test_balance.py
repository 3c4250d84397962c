"""Slopes of a ranker's item part and personal part, on planted labels."""

import numpy as np
import pytest

from karec.evaluate.balance import measure_slopes

RNG = np.random.default_rng(8)
USERS, ITEMS, N = 200, 400, 200_000
USER, WORK = RNG.integers(0, USERS, N), RNG.integers(0, ITEMS, N)
ITEM, PERSONAL = RNG.normal(size=ITEMS)[WORK], RNG.normal(size=N)
LEVEL = RNG.normal(-1.0, 0.5, USERS)[USER]


def labels(item_slope, personal_slope, level=0.0):
    logit = LEVEL + level + item_slope * ITEM + personal_slope * PERSONAL
    return (RNG.random(N) < 1.0 / (1.0 + np.exp(-logit))).astype(np.float64)


def measure(y, logit=None):
    own = LEVEL + ITEM + PERSONAL if logit is None else logit
    return measure_slopes(y, own, ITEM, USER, resamples=50, seed=0)


def test_both_slopes_are_one_if_labels_follow_the_logits():
    found = measure(labels(1.0, 1.0))
    for part in ("item", "personal"):
        low, high = found[f"{part}_ci"]
        assert found[part] == pytest.approx(1.0, abs=0.03) and low < 1.0 < high


@pytest.mark.parametrize(("item", "personal"), [(0.8, 1.2), (1.2, 0.8), (1.0, 1.25)])
def test_a_part_with_too_little_weight_has_a_slope_above_one(item, personal):
    found = measure(labels(item, personal))
    assert found["item"] == pytest.approx(item, abs=0.05)
    assert found["personal"] == pytest.approx(personal, abs=0.05)


def test_a_wrong_level_of_users_changes_no_slope_much():
    found = measure(labels(1.0, 1.0), LEVEL + 0.3 + ITEM + PERSONAL)
    assert found["item"] == pytest.approx(1.0, abs=0.1)


def test_a_part_that_never_varies_has_no_slope():
    found = measure_slopes(labels(0.0, 1.0), LEVEL + PERSONAL, np.zeros(N), USER, resamples=10, seed=0)
    assert found["item"] is None and found["item_ci"] is None
    assert found["personal"] == pytest.approx(1.0, abs=0.1)


def test_a_user_whose_probabilities_are_all_one_changes_nothing():
    y, logit = labels(1.0, 1.0), LEVEL + ITEM + PERSONAL
    saturated = np.where(USER == 0, 60.0, logit)
    assert np.isfinite(measure(y, saturated)["item"])
