"""Levels: an order of float32, histograms, and where the best of each cell end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from karec.screening.levels import LOW, Levels, order_of, quality_of

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=FINITE))
def test_the_order_is_that_of_the_numbers_and_can_be_turned_back(values):
    order = order_of(values)
    assert np.array_equal(
        np.sign(np.subtract.outer(order.astype(np.int64), order.astype(np.int64))),
        np.sign(np.subtract.outer(values.astype(np.float64), values.astype(np.float64))),
    )
    assert np.array_equal(quality_of(order), values)


CELLS = hnp.arrays(np.int64, st.shared(st.integers(0, 60), key="n"), elements=st.integers(0, 2**61))
LEVELS = hnp.arrays(np.int64, st.shared(st.integers(0, 60), key="n"), elements=st.integers(0, 4))


@given(CELLS, LEVELS, st.randoms())
def test_a_histogram_counts_works_and_parts_add_up_to_it(cells, levels, random):
    whole = Levels.count_of(cells % 3, levels)
    counted = {(c, lev): n for c, lev, n in zip(whole.cell, whole.level, whole.count, strict=True)}
    assert counted == {(c, lev): int(((cells % 3 == c) & (levels == lev)).sum()) for c, lev in counted}
    assert whole.count.sum() == len(cells)
    at = random.randint(0, len(cells))
    parts = [
        Levels.count_of(part_c % 3, part_l)
        for part_c, part_l in ((cells[:at], levels[:at]), (cells[at:], levels[at:]))
    ]
    summed = Levels.sum_of(parts)
    assert all(np.array_equal(getattr(summed, what), getattr(whole, what)) for what in vars(whole))


@given(CELLS, LEVELS, st.randoms())
def test_a_cut_leaves_exactly_the_wanted_works_above_and_at_it(cells, levels, random):
    counted = Levels.count_of(cells % 3, levels)
    wanted = np.array([random.randint(0, supply) for supply in counted.supply], np.int64)
    at, need, part = counted.cut(wanted)
    for c, cell in enumerate(counted.cells):
        of_cell = levels[cells % 3 == cell]
        assert (of_cell > at[c]).sum() + need[c] == wanted[c]
        assert need[c] <= (of_cell == at[c]).sum()
        assert part[c] == (need[c] < (of_cell == at[c]).sum())


def test_the_level_is_the_upper_half_of_the_order():
    assert order_of(np.array([0.5], np.float32))[0] >> LOW == 0xBF00
