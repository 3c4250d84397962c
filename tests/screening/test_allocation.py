"""Tests of the allocation: within quotas, or with the smallest violation."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_uploads import count_works

from karec.screening.allocation import allocate
from karec.screening.levels import LOW, to_order
from karec.screening.settings import Quota


def quota(bit, floor=0.0, cap=1.0):
    return Quota(column=f"kind {bit}", value=1, floor=floor, cap=cap, name=str(bit))


def levels_of(works):
    """``works``: (cell, quality) of each."""
    cell = np.array([c for c, _ in works], np.int64)
    quality = np.array([q for _, q in works], np.float32)
    return count_works(cell, to_order(quality) >> LOW)


def violation(quotas, kept, keep):
    """Works that floors and caps are missed by; ``kept``: {cell: works}."""
    total = 0
    for bit, entry in enumerate(quotas):
        n = sum(works for cell, works in kept.items() if cell >> bit & 1)
        floor, cap = np.ceil(entry.floor * keep - 1e-6), np.floor(entry.cap * keep + 1e-6)
        total += max(floor - n, 0) + max(n - cap, 0)
    return total


def test_allocation_without_quotas_keeps_the_best():
    works = [(0, 0.9 - 0.1 * n) for n in range(5)]
    assert allocate(levels_of(works), [], 3).wanted.tolist() == [3]


def test_allocation_of_two_cells_keeps_the_better_works():
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10
    assert allocate(levels_of(works), [quota(0, cap=0.8)], 12).wanted.tolist() == [10, 2]


def test_floor_adds_exactly_the_needed_worse_works():
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10
    result = allocate(levels_of(works), [quota(0, floor=0.4)], 10)
    assert result.wanted.tolist() == [6, 4] and result.quotas[0].violation == 0


def test_cap_leaves_out_good_works_even_if_fewer_are_kept():
    works = [(0, 0.5)] * 3 + [(1, 0.9)] * 10
    assert allocate(levels_of(works), [quota(0, cap=0.5)], 10).wanted.tolist() == [3, 5]


def test_works_of_two_quotas_count_for_both():
    """The floor of each quota is half of the kept works. Works of both quotas count for both."""
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10 + [(2, 0.5)] * 10 + [(3, 0.4)] * 10
    result = allocate(levels_of(works), [quota(0, floor=0.5), quota(1, floor=0.5)], 10)
    assert result.wanted.tolist() == [5, 0, 0, 5]


def test_floor_above_the_supply_keeps_all_and_reports_it():
    works = [(0, 0.9)] * 20 + [(1, 0.5)] * 2
    result = allocate(levels_of(works), [quota(0, floor=0.5)], 10)
    assert result.wanted.tolist() == [8, 2]
    assert result.quotas[0].message == "quota '0': kept 2 of 2 works, expected at least 5"


def test_contradicting_quotas_have_the_smallest_violation():
    """Every work of kind 0 is of kind 1: a floor of 6 and a cap of 4 are missed by 2 works in all."""
    works = [(3, 0.9)] * 10 + [(0, 0.5)] * 10
    quotas = [quota(0, floor=0.6), quota(1, cap=0.4)]
    result = allocate(levels_of(works), quotas, 10)
    kept = dict(zip((0, 3), result.wanted, strict=True))
    assert violation(quotas, kept, 10) == 2 and sum(kept.values()) == 10
    assert sum(abs(entry.violation) for entry in result.quotas) == 2
    assert all(quota.message for quota in result.quotas if quota.violation)


def test_allocation_without_candidates_is_empty():
    result = allocate(levels_of([]), [quota(0, floor=0.5)], 10)
    assert len(result.wanted) == 0 and result.quotas[0].violation == -5


@st.composite
def problems(draw):
    """A few works of up to two quotas and four cells, small enough to try everything."""
    n = draw(st.integers(1, 14))
    works = [(draw(st.integers(0, 3)), draw(st.integers(1, 9)) / 10) for _ in range(n)]
    bounds = []
    for bit in range(2):
        floor, cap = sorted(draw(st.tuples(st.integers(0, 10), st.integers(0, 10))))
        bounds.append((bit, floor / 10, cap / 10))
    quotas = [quota(*entry) for entry in bounds if entry[1:] != (0.0, 1.0)]
    return works, quotas, draw(st.integers(1, 12))


@given(problems())
def test_allocation_has_least_violation_then_most_works(problem):
    works, quotas, keep = problem
    levels = levels_of(works)
    result = allocate(levels, quotas, keep)
    cells, supply = levels.cells, levels.supply
    assert (result.wanted >= 0).all() and (result.wanted <= supply).all() and result.wanted.sum() <= keep
    best = min(
        (violation(quotas, dict(zip(cells, choice, strict=True)), keep), -sum(choice))
        for choice in product(*(range(n + 1) for n in supply))
        if sum(choice) <= keep
    )
    assert (
        violation(quotas, dict(zip(cells, result.wanted, strict=True)), keep),
        -result.wanted.sum(),
    ) == best
    violations = {entry.name: entry.violation for entry in result.quotas}
    assert sum(map(abs, violations.values())) == best[0]


@given(problems())
def test_allocation_has_the_best_quality_within_quotas(problem):
    works, quotas, keep = problem
    levels = levels_of(works)
    of_cell = {int(cell): sorted((q for c, q in works if c == cell), reverse=True) for cell in levels.cells}

    def worth(choice):
        return sum(sum(of_cell[int(cell)][:n]) for cell, n in zip(levels.cells, choice, strict=True))

    result = allocate(levels, quotas, keep).wanted
    at = violation(quotas, dict(zip(levels.cells, result, strict=True)), keep), result.sum()
    choices = [
        choice
        for choice in product(*(range(n + 1) for n in levels.supply))
        if (violation(quotas, dict(zip(levels.cells, choice, strict=True)), keep), sum(choice)) == at
    ]
    assert worth(result) >= max(map(worth, choices)) - 0.02 * keep


def test_allocation_of_many_cells_is_exact():
    rng = np.random.default_rng(3)
    n, bits = 200_000, 9
    cell = sum((rng.random(n) < rng.uniform(0.05, 0.6)).astype(np.int64) << bit for bit in range(bits))
    levels = count_works(cell, to_order(rng.random(n).astype(np.float32)) >> LOW)
    shares = np.array([levels.supply[(levels.cells >> bit & 1) == 1].sum() / n for bit in range(bits)])
    quotas = [
        quota(bit, floor=share * 1.2) if bit % 2 else quota(bit, cap=share * 0.8)
        for bit, share in enumerate(shares)
    ]
    result = allocate(levels, quotas, 20_011)
    assert result.wanted.sum() == 20_011
    assert [entry.violation for entry in result.quotas] == [0] * bits


def test_allocation_is_deterministic():
    rng = np.random.default_rng(4)
    levels = count_works(rng.integers(0, 16, 5000), to_order(rng.random(5000).astype(np.float32)) >> LOW)
    quotas = [quota(bit, floor=0.3, cap=0.6) for bit in range(4)]
    assert np.array_equal(allocate(levels, quotas, 777).wanted, allocate(levels, quotas, 777).wanted)


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 7])
def test_fractional_quotas_are_rounded_to_be_satisfiable(keep):
    works = [(0, 0.9)] * 20 + [(1, 0.1)] * 20
    result = allocate(levels_of(works), [quota(0, floor=0.3)], keep)
    assert result.quotas[0].kept == int(np.ceil(0.3 * keep - 1e-6))
