"""Tests of the agreement of towers and ranker on pools small enough for values by hand."""

import numpy as np
import pytest

from karec.evaluate import agreement
from karec.evaluate.agreement import RankedPools
from karec.evaluate.funnel import FEW_ITEMS
from karec.samples.examples import build_examples

N_ITEMS = 2_000


@pytest.fixture(scope="module")
def examples(dataset, encoder):
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def pools(examples):
    """12 pools of the users' first exposures. The ranker prefers small item rows."""
    rows = np.unique(examples.user_rows, return_index=True)[1]
    items = np.stack([np.random.default_rng(row).permutation(N_ITEMS) for row in rows])
    return RankedPools(examples, rows, items, -items.astype(np.float32))


def test_towers_with_the_rankers_order_keep_all_of_its_best(pools):
    fractions = pools.kept_fractions(lambda _, items: -items)
    assert all((values == 1.0).all() and len(values) == 12 for values in fractions.values())


def test_cut_keeps_a_tenth_of_a_pool(pools):
    """The towers prefer the ranker's places 50 to 249."""
    assert pools.n_kept == 200
    fractions = pools.kept_fractions(lambda _, items: (items >= 50).astype(float) - items / N_ITEMS)
    assert (fractions[10] == 0.0).all() and (fractions[100] == 0.5).all()


def test_cut_keeps_a_hundred_items_of_a_small_pool(pools):
    small = RankedPools(pools.examples, pools.rows, pools.items[:, :400], pools.ranker_scores[:, :400])
    assert small.n_kept == 100


def test_agreement_is_the_mean_kept_fraction_of_the_top_100(pools):
    first = pools.rows[0]
    assert pools.agreement(lambda row, items: items if row == first else -items) == pytest.approx(11 / 12)


def test_measure_separates_users_with_few_items_in_the_history(pools):
    history = pools.examples.relations["history"].take(pools.rows).latest(FEW_ITEMS)
    is_few = dict(zip(pools.rows.tolist(), (history >= 0).sum(axis=1) < FEW_ITEMS, strict=True))
    assert 0 < sum(is_few.values()) <= 12
    measured = pools.measure(lambda row, items: -items if is_few[row] else items)
    assert (measured["pools"], measured["items"], measured["kept"]) == (12, N_ITEMS, 200)
    assert measured["top100_few"] == 1.0 and measured["top100_few_ci"] == (1.0, 1.0)
    assert measured["top100"] == pytest.approx(sum(is_few.values()) / 12)
    low, high = measured["top10_ci"]
    assert low <= measured["top10"] <= high


def test_libraries_of_too_few_items_have_no_pools(examples, monkeypatch):
    assert RankedPools.from_ranker(examples, None, None, seed=0) is None  # 40 items
    monkeypatch.setattr(agreement, "TOPS", (2, 21))
    assert RankedPools.from_ranker(examples, None, None, seed=0) is None
