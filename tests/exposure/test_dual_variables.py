"""The update of dual variables against a plain loop, and the penalties that follow from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.catalog.schema import PUBLISHED
from karec.errors import ConfigError
from karec.exposure.constraints import Cap, ExposureSettings, Target
from karec.exposure.dual_variables import (
    MIN_W,
    DualUpdate,
    MemberCounter,
    TargetAscent,
    TargetGroup,
    subtract_penalties,
)
from karec.times import HOUR_MS

pages = st.lists(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=60)
shares = st.floats(0, 1)
rates = st.floats(1e-6, 1)
bounds = st.floats(1e-3, 10)


def dual_after(update, share, pages):
    duals = np.zeros(1)
    for count, n in pages:
        duals = update.update_targets(duals, np.array([share]), np.array([count], np.float64), n)
    return duals[0]


@given(rates, bounds, shares, pages)
def test_dual_variable_of_a_target_stays_within_its_bounds(rate, bound, share, pages):
    assert abs(dual_after(DualUpdate(rate, bound), share, pages)) <= bound


@given(rates, bounds, st.floats(0.001, 1), pages)
def test_dual_variable_of_a_cap_stays_within_0_and_bound(rate, bound, share, pages):
    update, dual = DualUpdate(rate, bound), 0.0
    for count, n in pages:
        dual = update.update_cap(dual, share, count, n)
        assert 0 <= dual <= bound


@given(rates, bounds, shares, pages)
def test_dual_ascent_sums_impressions_beyond_the_share(rate, bound, share, pages):
    dual, w = 0.0, max(share * (1 - share), MIN_W)
    for count, n in pages:
        dual = min(max(dual + rate * (count - share * n) / (10 * w), -bound), bound)
    assert dual_after(DualUpdate(rate, bound), share, pages) == pytest.approx(dual, rel=1e-9, abs=1e-9)


@given(rates, bounds, st.floats(0.01, 1), st.floats(0, 10), st.integers(1, 50), st.integers(1, 50))
def test_cap_decreases_equally_in_one_step_and_in_two(rate, bound, share, dual, n, m):
    update, dual = DualUpdate(rate, bound), min(dual, bound)
    in_steps = update.update_cap(update.update_cap(dual, share, 0, n), share, 0, m)
    assert update.update_cap(dual, share, 0, n + m) == pytest.approx(in_steps, abs=1e-9)


def test_dual_variables_of_all_shares_converge_at_one_pace():
    """A group whose share answers its dual variable by −s·(1 − s) per unit converges as fast for every s."""
    update = DualUpdate(0.01, 3.0)
    left = []
    for share in (0.05, 0.3, 0.6):
        duals = np.zeros(1)
        for _ in range(100):
            natural = share + share * (1 - share) * (0.5 - duals[0])  # half a deviation too much
            duals = update.update_targets(duals, np.array([share]), np.array([10 * natural]), 10)
        left.append(0.5 - duals[0])
    np.testing.assert_allclose(left, 0.5 * np.exp(-1), rtol=0.01)


def ascent_of(share, rate=0.01, bound=3.0, *, minimum=True):
    groups = TargetGroup.from_targets([Target({"1": share}, column="type", minimum=minimum)])
    return TargetAscent(groups, DualUpdate(rate, bound))


@given(rates, bounds, shares, pages)
def test_dual_variable_of_a_minimum_stays_within_minus_bound_and_0(rate, bound, share, pages):
    ascent = ascent_of(share, rate, bound)
    for count, n in pages:
        ascent.add_page(np.array([count], np.float64), n)
        assert -bound <= ascent.dual_variables()[0] <= 0


@given(rates, bounds, shares, pages)
def test_dual_variable_of_a_target_follows_the_update_rule(rate, bound, share, pages):
    ascent = ascent_of(share, rate, bound, minimum=False)
    for count, n in pages:
        ascent.add_page(np.array([count], np.float64), n)
    assert ascent.dual_variables()[0] == dual_after(DualUpdate(rate, bound), share, pages)
    assert ascent.means[0] == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_minimum_is_reached_without_a_lasting_shortage(share):
    """A group that always needs the boost 1 lacks few impressions; without m it would lack 10·w/rate."""
    ascent, shown, n_pages = ascent_of(share), 0.0, 2_000
    for _ in range(n_pages):
        count = max(10 * share * (1 - (1 - share) * (1 + ascent.dual_variables()[0])), 0.0)
        ascent.add_page(np.array([count]), 10)
        shown += count
    missing = 10 * share * n_pages - shown
    assert missing < 0.05 * 10 * max(share * (1 - share), MIN_W) / 0.01


def test_surplus_of_a_minimum_is_used_up_before_it_is_boosted():
    ascent = ascent_of(0.3)
    ascent.add_page(np.array([8.0]), 10)
    assert ascent.values[0] > 0 and ascent.dual_variables()[0] == 0
    ascent.add_page(np.array([0.0]), 10)
    assert ascent.dual_variables()[0] == 0
    ascent.add_page(np.array([0.0]), 10)
    ascent.add_page(np.array([0.0]), 10)
    assert ascent.dual_variables()[0] < 0


@given(st.lists(st.integers(-2, 6), max_size=12), st.lists(st.integers(-5, 20), max_size=12))
def test_member_counter_counts_the_members_of_each_group(types, ages):
    targets = (Target({"1": 0.3, "4": 0.1, "-1": 0.1}, column="type"), Target(0.4, age_hours=12))
    groups, now_ms = TargetGroup.from_targets(targets), 1_000 * HOUR_MS
    columns = {"type": np.array(types, np.int8), PUBLISHED: now_ms - np.array(ages, np.int64) * HOUR_MS}
    counts = MemberCounter(groups).count(columns.__getitem__, now_ms)
    assert counts == {group.name: group.members(columns[group.column], now_ms).sum() for group in groups}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 3.0), "rate = 0.0, expected more than 0, at most 1"),
        ((1.5, 3.0), "rate = 1.5, expected more than 0, at most 1"),
        ((float("nan"), 3.0), "rate = nan, expected a finite number"),
        ((0.01, 0.0), "bound = 0.0, expected more than 0, at most 100"),
        ((0.01, 101.0), "bound = 101.0, expected more than 0, at most 100"),
    ],
)
def test_settings_reject_rate_and_bound_out_of_range(arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        ExposureSettings(caps=(Cap("type", 0.5),), rate=arguments[0], bound=arguments[1])


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.data())
def test_penalties_are_in_deviations_and_penalty_0_changes_no_bit(scores, data):
    scores = np.array(scores, np.float32)
    penalties = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.5, -2.0]), min_size=len(scores), max_size=len(scores)))
    )
    result = subtract_penalties(scores, penalties)
    wide = scores.astype(np.float64)
    deviation = wide.std() if wide.std() > 0 else 1.0
    np.testing.assert_allclose(
        result, wide - penalties * deviation, rtol=1e-6, atol=1e-6 * abs(wide).max() + 1e-40
    )
    assert result.tobytes() == np.asarray(wide - penalties * deviation, np.float32).tobytes()
    is_free = penalties == 0
    assert result[is_free].tobytes() == scores[is_free].tobytes() and result.dtype == np.float32
