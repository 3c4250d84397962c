"""NumbaSelections: plain selections equal those of the C++ extension, other options raise ImportError."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.diversity import dpp, dpp_select, mmr_select, mmr_ssd, relevance, ssd_select
from karec.diversity.numba_selections import NumbaSelections

MODULES = (dpp, mmr_ssd, relevance)
SELECTIONS = {"dpp": dpp_select, "mmr": mmr_select, "ssd": ssd_select}


@cache
def numba():
    with pytest.warns(RuntimeWarning, match="run in Numba, which is slower: no extension"):
        return NumbaSelections(ImportError("no extension"))


def select(library, name, *arguments, **options):
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES if library else ():
            patch.setattr(module, "library", library)
        return SELECTIONS[name](*arguments, **options)


@pytest.mark.parametrize("name", SELECTIONS)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 40),
    k=st.integers(1, 12),
    window=st.none() | st.integers(2, 5),
    diversity=st.floats(0.05, 0.95),
    is_standardised=st.booleans(),
)
def test_numba_selections_equal_the_extension(name, seed, n, k, window, diversity, is_standardised):
    rng = np.random.default_rng(seed)
    vectors, scores = rng.standard_normal((n, 8)).astype(np.float32), rng.standard_normal(n)
    options = {"diversity": diversity, "window": window, "standardise": is_standardised}
    expected = select(None, name, vectors, scores, k, **options)
    result = select(numba(), name, vectors, scores, k, **options)
    np.testing.assert_array_equal(result.indices, expected.indices)
