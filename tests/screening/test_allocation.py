"""The allocation: within floors and caps, or with the least violation, which is named."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.screening.allocation import allocate
from karec.screening.levels import LOW, Levels, order_of
from karec.screening.settings import Quota


def quota(bit, floor=0.0, cap=1.0):
    return Quota(column=f"kind {bit}", value=1, floor=floor, cap=cap, name=str(bit))


def levels_of(works):
    """``works``: (cell, quality) of each."""
    cell = np.array([c for c, _ in works], np.int64)
    quality = np.array([q for _, q in works], np.float32)
    return Levels.count_of(cell, order_of(quality) >> LOW)


def violation(quotas, kept, keep):
    """Works that floors and caps are missed by; ``kept``: {cell: works}."""
    total = 0
    for bit, each in enumerate(quotas):
        n = sum(works for cell, works in kept.items() if cell >> bit & 1)
        floor, cap = np.ceil(each.floor * keep - 1e-6), np.floor(each.cap * keep + 1e-6)
        total += max(floor - n, 0) + max(n - cap, 0)
    return total


def test_without_quotas_the_best_are_kept():
    works = [(0, 0.9 - 0.1 * n) for n in range(5)]
    assert allocate(levels_of(works), [], 3).wanted.tolist() == [3]


def test_of_two_kinds_the_better_ones_are_kept():
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10
    assert allocate(levels_of(works), [quota(0, cap=0.8)], 12).wanted.tolist() == [10, 2]


def test_a_floor_brings_in_worse_works_and_no_more_than_it_asks_for():
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10
    found = allocate(levels_of(works), [quota(0, floor=0.4)], 10)
    assert found.wanted.tolist() == [6, 4] and found.quotas[0].violation == 0


def test_a_cap_leaves_good_works_out_though_fewer_are_kept_for_it():
    works = [(0, 0.5)] * 3 + [(1, 0.9)] * 10
    assert allocate(levels_of(works), [quota(0, cap=0.5)], 10).wanted.tolist() == [3, 5]


def test_kinds_may_overlap():
    """Half of what is kept is of kind 0 and half of kind 1: works that are both count for both."""
    works = [(0, 0.9)] * 10 + [(1, 0.5)] * 10 + [(2, 0.5)] * 10 + [(3, 0.4)] * 10
    found = allocate(levels_of(works), [quota(0, floor=0.5), quota(1, floor=0.5)], 10)
    assert found.wanted.tolist() == [5, 0, 0, 5]


def test_a_floor_above_what_there_is_takes_all_of_it_and_says_so():
    works = [(0, 0.9)] * 20 + [(1, 0.5)] * 2
    found = allocate(levels_of(works), [quota(0, floor=0.5)], 10)
    assert found.wanted.tolist() == [8, 2]
    assert found.quotas[0].told == "quota '0': at least 5 works were wanted, 2 are kept of 2"


def test_floors_and_caps_that_contradict_are_missed_by_as_little_as_can_be():
    """Every work of kind 0 is of kind 1: a floor of 6 and a cap of 4 are missed by 2 works in all."""
    works = [(3, 0.9)] * 10 + [(0, 0.5)] * 10
    quotas = [quota(0, floor=0.6), quota(1, cap=0.4)]
    found = allocate(levels_of(works), quotas, 10)
    kept = dict(zip((0, 3), found.wanted, strict=True))
    assert violation(quotas, kept, 10) == 2 and sum(kept.values()) == 10
    assert sum(abs(each.violation) for each in found.quotas) == 2
    assert all(each.told for each in found.quotas if each.violation)


def test_no_candidates_is_an_allocation_of_none():
    found = allocate(levels_of([]), [quota(0, floor=0.5)], 10)
    assert len(found.wanted) == 0 and found.quotas[0].violation == -5


@st.composite
def problems(draw):
    """A few works of up to two quotas and four cells, small enough to try everything."""
    n = draw(st.integers(1, 14))
    works = [(draw(st.integers(0, 3)), draw(st.integers(1, 9)) / 10) for _ in range(n)]
    bounds = []
    for bit in range(2):
        floor, cap = sorted(draw(st.tuples(st.integers(0, 10), st.integers(0, 10))))
        bounds.append((bit, floor / 10, cap / 10))
    quotas = [quota(*each) for each in bounds if each[1:] != (0.0, 1.0)]
    return works, quotas, draw(st.integers(1, 12))


@given(problems())
def test_no_other_choice_misses_quotas_by_less_or_keeps_more(problem):
    works, quotas, keep = problem
    levels = levels_of(works)
    found = allocate(levels, quotas, keep)
    cells, supply = levels.cells, levels.supply
    assert (found.wanted >= 0).all() and (found.wanted <= supply).all() and found.wanted.sum() <= keep
    best = min(
        (violation(quotas, dict(zip(cells, choice, strict=True)), keep), -sum(choice))
        for choice in product(*(range(n + 1) for n in supply))
        if sum(choice) <= keep
    )
    assert (violation(quotas, dict(zip(cells, found.wanted, strict=True)), keep), -found.wanted.sum()) == best
    told = {each.name: each.violation for each in found.quotas}
    assert sum(map(abs, told.values())) == best[0]


@given(problems())
def test_quality_is_the_best_that_quotas_allow(problem):
    works, quotas, keep = problem
    levels = levels_of(works)
    of_cell = {int(cell): sorted((q for c, q in works if c == cell), reverse=True) for cell in levels.cells}

    def worth(choice):
        return sum(sum(of_cell[int(cell)][:n]) for cell, n in zip(levels.cells, choice, strict=True))

    found = allocate(levels, quotas, keep).wanted
    at = violation(quotas, dict(zip(levels.cells, found, strict=True)), keep), found.sum()
    choices = [
        choice
        for choice in product(*(range(n + 1) for n in levels.supply))
        if (violation(quotas, dict(zip(levels.cells, choice, strict=True)), keep), sum(choice)) == at
    ]
    assert worth(found) >= max(map(worth, choices)) - 0.02 * keep


def test_many_cells_and_quotas_are_met_to_the_work():
    rng = np.random.default_rng(3)
    n, bits = 200_000, 9
    cell = sum((rng.random(n) < rng.uniform(0.05, 0.6)).astype(np.int64) << bit for bit in range(bits))
    levels = Levels.count_of(cell, order_of(rng.random(n).astype(np.float32)) >> LOW)
    shares = np.array([levels.supply[(levels.cells >> bit & 1) == 1].sum() / n for bit in range(bits)])
    quotas = [
        quota(bit, floor=share * 1.2) if bit % 2 else quota(bit, cap=share * 0.8)
        for bit, share in enumerate(shares)
    ]
    found = allocate(levels, quotas, 20_011)
    assert found.wanted.sum() == 20_011
    assert [each.violation for each in found.quotas] == [0] * bits


def test_a_problem_has_one_answer():
    rng = np.random.default_rng(4)
    levels = Levels.count_of(rng.integers(0, 16, 5000), order_of(rng.random(5000).astype(np.float32)) >> LOW)
    quotas = [quota(bit, floor=0.3, cap=0.6) for bit in range(4)]
    assert np.array_equal(allocate(levels, quotas, 777).wanted, allocate(levels, quotas, 777).wanted)


@pytest.mark.parametrize("keep", [1, 2, 3, 5, 7])
def test_shares_that_are_no_whole_works_are_rounded_towards_being_met(keep):
    works = [(0, 0.9)] * 20 + [(1, 0.1)] * 20
    found = allocate(levels_of(works), [quota(0, floor=0.3)], keep)
    assert found.quotas[0].kept == int(np.ceil(0.3 * keep - 1e-6))
