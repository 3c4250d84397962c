"""The hash that assigns units to arms, and its statistical properties."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.experiments.assignment import (
    N_BUCKETS,
    choose_arm,
    choose_arms,
    fnv32a,
    unit_bucket,
    unit_buckets,
)

GOLDEN = Path(__file__).parent / "golden" / "buckets.tsv"  # native/tests/ids/test_assignment.cpp reads it too
WEIGHTS = (0.1, 0.2, 0.3, 0.4)
PUBLISHED = [  # (seed, id, bucket) of version 2 in cases.json of GrowthBook's SDKs
    ("seed", "a", 505),
    ("seed", "b", 2696),
    ("foo", "ab", 2575),
    ("foo", "def", 2019),
    ("89123klj", "8952klfjas09ujkasdf", 1240),
    ("90850943850283058242805", "123", 7516),
    ("()**(%$##$%#$#", '___)((*":&', 128),
]
ids = st.text(min_size=1, max_size=40)
fractions = st.floats(0, 1)
N_UNITS = 20_000
SIGMAS = 4.5  # a false alarm in 150,000 comparisons of a fixed sample


@pytest.mark.parametrize(("seed", "unit_id", "bucket"), PUBLISHED)
def test_unit_bucket_equals_published_values_of_growthbook(seed, unit_id, bucket):
    assert unit_bucket(seed, unit_id) == bucket


def test_unit_bucket_and_arm_equal_the_golden_file():
    rows = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 100 and any(not row[1].isascii() for row in rows)
    for seed, unit_id, bucket, arm in rows:
        assert unit_bucket(seed, unit_id) == int(bucket), (seed, unit_id)
        assert choose_arm(int(bucket), WEIGHTS, 0.7) == int(arm)


def test_unit_bucket_refuses_an_empty_id():
    with pytest.raises(ValueError, match="unit_id is empty"):
        unit_bucket("seed", "")


@given(st.text(max_size=20), ids)
def test_unit_bucket_of_a_hashed_seed_is_that_of_the_seed(seed, unit_id):
    assert unit_bucket(fnv32a(seed.encode()), unit_id) == unit_bucket(seed, unit_id) < N_BUCKETS


@given(
    st.integers(0, N_BUCKETS - 1), st.lists(st.integers(1, 9), min_size=1, max_size=6), fractions, fractions
)
def test_larger_coverage_moves_no_unit_between_arms(bucket, parts, one, other):
    weights = [part / sum(parts) for part in parts]
    low, high = sorted([one, other])
    before, after = choose_arm(bucket, weights, low), choose_arm(bucket, weights, high)
    assert before in (-1, after)


@given(st.text(max_size=9), st.lists(st.integers(0, 2**63 - 1), max_size=30), fractions)
def test_buckets_and_arms_of_numbers_equal_those_of_their_texts(seed, numbers, coverage):
    buckets = unit_buckets(fnv32a(seed.encode()), np.array(numbers, np.int64))
    assert buckets.tolist() == [unit_bucket(seed, str(number)) for number in numbers]
    arms = choose_arms(buckets, WEIGHTS, coverage).tolist()
    assert arms == [choose_arm(bucket, WEIGHTS, coverage) for bucket in buckets.tolist()]


def arms_of(seed, coverage=1.0):
    return np.array([choose_arm(unit_bucket(seed, f"u{i}"), WEIGHTS, coverage) for i in range(N_UNITS)])


def test_fractions_of_arms_are_within_binomial_bounds():
    for coverage in (1.0, 0.25):
        arms = arms_of("ranking-2026.fusion.1", coverage)
        for arm, weight in enumerate(WEIGHTS):
            p = weight * coverage
            assert abs((arms == arm).mean() - p) < SIGMAS * np.sqrt(p * (1 - p) / N_UNITS)


def test_arms_of_layers_with_other_salts_are_independent():
    one, other = arms_of("ranking-2026.fusion.1"), arms_of("recall-2026.popular.1")
    table = np.array([[np.sum((one == i) & (other == j)) for j in range(4)] for i in range(4)])
    expected = np.outer(WEIGHTS, WEIGHTS) * N_UNITS
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert chi_squared < 15 + SIGMAS * np.sqrt(30)  # 15 degrees of freedom
