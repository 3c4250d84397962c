"""Measures of diversity against plain loops, and what a sweep must show on pools where the answer is known."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.diversity_report import write_diversity
from karec.evaluate.diversity_sweep import Pool, diversity_sweep
from karec.evaluate.measures import diversity


@st.composite
def lists(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    f = rng.standard_normal((draw(st.integers(0, 25)), 4)).astype(np.float32)
    if len(f) > 2 and draw(st.booleans()):
        f[0], f[1] = 0, f[2] * 3
    return f


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b) / lengths if lengths > 0 else 0.0


@given(lists())
def test_pairs_are_counted_one_by_one(f):
    f = f.astype(float)
    cosines = [cosine(a, b) for a, b in combinations(f, 2)]
    expected = np.mean([1 - c for c in cosines]) if cosines else 0.0
    assert diversity.intra_list_distance(f) == pytest.approx(expected, abs=1e-9)
    expected = np.mean([c > 0.95 for c in cosines]) if cosines else 0.0
    assert diversity.near_duplicate_share(f) == pytest.approx(expected)


@given(lists(), st.integers(2, 12))
def test_a_windowed_distance_is_the_mean_over_neighbours(f, window):
    windows = [f[i : i + window] for i in range(len(f) - window + 1)] or [f]
    expected = np.mean([diversity.intra_list_distance(part) for part in windows])
    assert diversity.windowed_distance(f, window) == pytest.approx(expected, abs=1e-12)


@given(lists())
def test_log_det_is_the_product_of_eigenvalues_and_largest_where_all_differ(f):
    k = len(f)
    g = diversity.unit_rows(f)
    eigenvalues = np.linalg.eigvalsh(g @ g.T + 0.01 * np.eye(k)) if k else np.ones(0)
    assert diversity.log_det(f) == pytest.approx(np.log(eigenvalues).sum(), abs=1e-6)
    assert diversity.log_det(f) <= k * np.log(1.01) + 1e-9
    assert diversity.log_det(np.eye(3)) == pytest.approx(3 * np.log(1.01))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_gini_is_half_the_mean_difference_over_the_mean(counts):
    x = np.array(counts, float)
    differences = np.abs(x[:, None] - x[None, :]).mean()
    expected = differences / (2 * x.mean()) if x.sum() else 0.0
    assert diversity.gini(x) == pytest.approx(expected)


def test_the_gini_of_exposure_counts_what_was_never_shown():
    assert diversity.exposure_gini(np.array([5, 5, 5]), np.array([5, 9, 9, 7])) == pytest.approx(2 / 3)
    assert diversity.exposure_gini(np.array([5, 9, 7]), np.array([5, 9, 9, 7])) == pytest.approx(0.0)


def pools(n=200, columns=("creator_id", "song_id", "type")):
    """The relevant half of each pool are near-copies of one vector, of one creator."""
    made = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        f = rng.standard_normal((n, 12)).astype(np.float32)
        relevance = rng.standard_normal(n).astype(np.float32)
        relevant = relevance > 0
        f[relevant] = f[0] + 0.05 * f[relevant]
        every = {
            "creator_id": np.where(relevant, 7, np.arange(n) + 100),
            "song_id": np.arange(n),
            "type": relevant.astype(np.int8),
        }
        made.append(Pool(np.arange(n) + 1000 * seed, relevance, f, {name: every[name] for name in columns}))
    return made


@pytest.fixture(scope="module")
def report():
    return diversity_sweep(pools(), k=20, diversities=(0.1, 0.5, 0.9), windows=(2, 20, 50))


def of(report, method):
    return [point for point in report["points"] if point["method"] == method]


def test_a_sweep_holds_every_method_and_setting(report):
    assert (report["pools"], report["pool_size"], report["k"]) == (5, 200, 20)
    settings = {
        method: [p["setting"] for p in of(report, method)] for method in ("top_k", "dpp", "mmr", "ssd", "scatter")
    }
    assert settings["top_k"] == [None] and settings["scatter"] == [2.0, 20.0]
    assert settings["dpp"] == settings["mmr"] == settings["ssd"] == [0.1, 0.5, 0.9]


def test_more_diversity_costs_relevance_and_gains_distance(report):
    (plain,) = of(report, "top_k")
    assert plain["relevance_lost"] == 0.0 and plain["near_duplicates"] > 0.9 and plain["type_share"] == {"1": 1.0}
    for method in ("dpp", "mmr", "ssd"):
        lost = [point["relevance_lost"] for point in of(report, method)]
        assert 0 <= lost[0] <= lost[1] <= lost[2] and lost[2] > 0
        last = of(report, method)[-1]
        for measure in ("distance", "distance_of_ten", "log_det", "creators"):
            assert last[measure] > plain[measure]
        for measure in ("near_duplicates", "gini_creators"):
            assert last[measure] < plain[measure]
    assert of(report, "scatter")[-1]["creators"] > of(report, "scatter")[0]["creators"] > plain["creators"]
    # log det is what a DPP maximises: at full strength nobody has more of it.
    assert of(report, "dpp")[-1]["log_det"] >= max(of(report, m)[-1]["log_det"] for m in ("mmr", "ssd", "scatter"))


def test_measures_of_columns_that_are_not_there_are_left_out(tmp_path):
    report = diversity_sweep(pools(columns=()), k=5, diversities=(0.5,))
    assert not of(report, "scatter") and "creators" not in report["points"][0]
    data, shown = write_diversity(report, tmp_path)
    assert json.loads(data.read_text()) == report and shown.read_text().count("<svg") == 4


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least one pool"):
        diversity_sweep([], k=5)
    with pytest.raises(ValueError, match="k must be positive, got 0"):
        diversity_sweep(pools(), k=0)
