"""Tests of levels: order of float32, histograms, and the end of the best works per cell."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_uploads import count_works

from karec.screening.levels import LOW, from_order, to_order

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=FINITE))
def test_to_order_keeps_order_and_is_invertible(values):
    order = to_order(values)
    assert np.array_equal(
        np.sign(np.subtract.outer(order.astype(np.int64), order.astype(np.int64))),
        np.sign(np.subtract.outer(values.astype(np.float64), values.astype(np.float64))),
    )
    assert np.array_equal(from_order(order), values)


CELLS = hnp.arrays(np.int64, st.shared(st.integers(0, 60), key="n"), elements=st.integers(0, 2**61))
LEVELS = hnp.arrays(np.int64, st.shared(st.integers(0, 60), key="n"), elements=st.integers(0, 4))


@given(CELLS, LEVELS, st.randoms())
def test_cut_has_exactly_the_wanted_works(cells, levels, random):
    counted = count_works(cells % 3, levels)
    expected = np.array([random.randint(0, supply) for supply in counted.supply], np.int64)
    at, need = counted.cut(expected)
    for c, cell in enumerate(counted.cells):
        of_cell = levels[cells % 3 == cell]
        assert (of_cell > at[c]).sum() + need[c] == expected[c]
        assert need[c] <= (of_cell == at[c]).sum()


def test_level_is_the_upper_half_of_the_order():
    assert to_order(np.array([0.5], np.float32))[0] >> LOW == 0xBF00
