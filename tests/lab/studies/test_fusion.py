"""The fusion study: the top k of lists against a plain computation, and undominated weights."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from karec.errors import ConfigError, DataError
from karec.lab.studies.fusion import RankedLists, frontier, fusion_sweep, simplex, write_fusion

NAMES = ("click", "like", "play_time")
OWN = {"click": 1.0, "like": 2.0}


def lists(n=400, n_lists=60, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((n, 3)).astype(np.float32) - [0.0, 3.0, 0.5]
    chances = 1 / (1 + np.exp(-logits))
    outcomes = np.where([True, True, False], generator.random((n, 3)) < chances, 10 * chances)
    of = generator.integers(n_lists, size=n)
    return RankedLists(NAMES, logits.astype(np.float32), outcomes.astype(np.float64), of, of % 17)


def oracle(lists, weights, k):
    """The mean over lists longer than k of the mean outcomes of the k best, list by list, in float64."""
    w = np.array([weights.get(name, 0.0) for name in lists.objectives])
    found = []
    for one in np.unique(lists.of):
        rows = np.flatnonzero(lists.of == one)
        if len(rows) > k:
            fused = (1 / (1 + np.exp(-lists.logits[rows].astype(np.float64)))) @ (w / w.sum())
            found.append(lists.outcomes[rows[np.argsort(-fused, kind="stable")[:k]]].mean(axis=0))
    return np.mean(found, axis=0), len(found)


def test_fusion_rows_equal_a_plain_computation():
    given_lists = lists()
    swept = fusion_sweep(given_lists, OWN, k=3, steps=3, resamples=50)
    assert len(swept["rows"]) == 1 + 10
    for row in swept["rows"]:
        expected, n = oracle(given_lists, row["weights"], 3)
        assert swept["lists"] == n
        values = [row["values"][name]["value"] for name in NAMES]
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        assert sum(row["weights"].values()) == pytest.approx(1) == sum(row["shares"].values())
        for name, value in zip(NAMES, values, strict=True):
            low, high = row["values"][name]["ci"]
            assert low <= value <= high
            gain = row["gains"][name]
            assert gain["value"] == pytest.approx(value - swept["rows"][0]["values"][name]["value"])
            assert gain["ci"][0] <= gain["ci"][1]
    assert all(gain["ci"] == (0.0, 0.0) for gain in swept["rows"][0]["gains"].values())
    of_own = swept["rows"][0]["weights"]
    assert of_own == pytest.approx({"click": 1 / 3, "like": 2 / 3, "play_time": 0.0})


def test_fraction_is_the_part_of_the_mean_score():
    given_lists = lists()
    mean = (1 / (1 + np.exp(-given_lists.longer_than(3).logits.astype(np.float64)))).mean(axis=0)
    for row in fusion_sweep(given_lists, OWN, k=3, steps=2, resamples=2)["rows"]:
        parts = np.array([row["weights"][name] for name in NAMES]) * mean
        np.testing.assert_allclose([row["shares"][name] for name in NAMES], parts / parts.sum())


def test_order_by_one_objective_has_the_most_of_its_truth():
    """Outcomes that are an increasing function of the logits: no mixture beats the objective's own order."""
    given_lists = lists()
    certain = RankedLists(
        NAMES, given_lists.logits, given_lists.logits.astype(np.float64), given_lists.of, given_lists.user
    )
    rows = fusion_sweep(certain, OWN, k=2, steps=4, resamples=2)["rows"]
    for name in NAMES:
        alone = next(row for row in rows if row["shares"][name] == pytest.approx(1.0))
        assert alone["values"][name]["value"] == max(row["values"][name]["value"] for row in rows)
        assert alone["on_frontier"]


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 3))
)
def test_frontier_has_the_undominated_rows(values):
    expected = [not any((other >= row).all() and (other > row).any() for other in values) for row in values]
    assert frontier(values).tolist() == expected


@pytest.mark.parametrize(("n", "steps"), [(1, 4), (2, 3), (3, 4), (5, 4)])
def test_grid_has_every_fraction_once(n, steps):
    expected = sorted(each for each in itertools.product(range(steps + 1), repeat=n) if sum(each) == steps)
    assert sorted(map(tuple, np.rint(simplex(n, steps) * steps).astype(int).tolist())) == expected


def test_fusion_skips_short_lists_and_rejects_none():
    given_lists = lists()
    assert np.unique(given_lists.longer_than(5).of, return_counts=True)[1].min() == 6
    with pytest.raises(DataError, match=r"more than k = 400 works, the longest has \d+\. Lower k"):
        fusion_sweep(given_lists, OWN, k=400, steps=1)


def test_fusion_rejects_weights_of_unknown_objectives():
    with pytest.raises(ConfigError, match=r"the run's fusion has weights for \['follow'\]"):
        fusion_sweep(lists(), {"follow": 1.0}, k=3, steps=1)


def test_fusion_report_is_json_a_table_and_a_chart(tmp_path):
    swept = fusion_sweep(lists(), OWN, k=3, steps=2, resamples=5)
    report = {
        "data": "x",
        "measured_on": "test",
        "k": 3,
        "steps": 2,
        "objectives": list(NAMES),
        "sources": {"replayed": swept},
    }
    data, shown = write_fusion(report, tmp_path)
    written = json.loads(data.read_text())
    assert written["format"] == 1 and len(written["sources"]["replayed"]["rows"]) == 7
    page = shown.read_text()
    assert "<svg" in page and "(the run&#x27;s)" in page and "play_time, s" in page and "top 3 of" in page
