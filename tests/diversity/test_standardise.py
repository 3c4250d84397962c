"""``standardise=True``: relevance of any scale, and of a single candidate, for DPP, MMR and SSD."""

import numpy as np
import pytest

from karec.diversity import dpp_select, mmr_select, ssd_select, standardise_scores
from karec.index import ItemIndex

RNG = np.random.default_rng(3)
E = RNG.standard_normal((40, 6), dtype=np.float32)
R = RNG.standard_normal(40, dtype=np.float32)


def same(result, expected):
    np.testing.assert_array_equal(result.indices, expected.indices)
    np.testing.assert_array_equal(result.gains, expected.gains)


@pytest.mark.parametrize("select", [dpp_select, mmr_select, ssd_select])
def test_standardise_ignores_the_scale_of_scores(select):
    expected = select(E, standardise_scores(R), 10, diversity=0.4)
    same(select(E, R, 10, diversity=0.4, standardise=True), expected)
    np.testing.assert_array_equal(
        select(E, 500 * R + 7, 10, diversity=0.4, standardise=True).indices, expected.indices
    )
    same(select(E, R, 10, diversity=0.4, standardise=False), select(E, R, 10, diversity=0.4))


def test_dpp_of_rows_standardises_as_dpp_of_vectors():
    index = ItemIndex.build(np.arange(40), E, dtype="float32")
    expected = dpp_select(E, standardise_scores(R), 10, diversity=0.4)
    same(index.dpp_select(np.arange(40), R, 10, diversity=0.4, standardise=True), expected)


@pytest.mark.parametrize("select", [dpp_select, mmr_select, ssd_select])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_standardise_allows_one_candidate_and_equal_scores(select, n):
    """scores / scores.std(), which README once advised, is 0 / 0 there, and NaN is refused."""
    result = select(E[:n], np.full(n, 0.25, np.float32), 2, standardise=True)
    assert len(set(result.indices.tolist())) == min(n, 2)


@pytest.mark.parametrize("select", [dpp_select, mmr_select, ssd_select])
def test_standardise_refuses_wrong_relevance(select):
    for bad, words in ((np.nan, "NaN"), (np.inf, "infinity")):
        relevance = R.astype(np.float64)
        relevance[4] = bad
        with pytest.raises(ValueError, match=f"relevance holds {words} at position 4"):
            select(E, relevance, 3, standardise=True)
    with pytest.raises(ValueError, match=r"relevance has shape \(39,\), expected \(40,\)"):
        select(E, R[:39], 3, standardise=True)
    with pytest.raises(TypeError, match="standardise must be True or False, got 'yes'"):
        select(E, R, 3, standardise="yes")
