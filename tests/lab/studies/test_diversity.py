"""The sweep of diversity methods, on pools with a known answer."""

import json

import numpy as np
import pytest

from karec.lab.studies.diversity import Pool, diversity_sweep, write_diversity


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


def test_sweep_has_every_method_and_setting(report):
    assert (report["pools"], report["pool_size"], report["k"]) == (5, 200, 20)
    settings = {
        method: [p["setting"] for p in of(report, method)]
        for method in ("top_k", "dpp", "mmr", "ssd", "arrange")
    }
    assert settings["top_k"] == [None] and settings["arrange"] == [2.0, 20.0]
    assert settings["dpp"] == settings["mmr"] == settings["ssd"] == [0.1, 0.5, 0.9]


def test_diversity_trades_relevance_for_distance(report):
    (plain,) = of(report, "top_k")
    assert (
        plain["relevance_lost"] == 0.0
        and plain["near_duplicates"] > 0.9
        and plain["type_share"] == {"1": 1.0}
    )
    for method in ("dpp", "mmr", "ssd"):
        lost = [point["relevance_lost"] for point in of(report, method)]
        assert 0 <= lost[0] <= lost[1] <= lost[2] and lost[2] > 0
        last = of(report, method)[-1]
        for measure in ("distance", "distance_of_ten", "log_det", "creators"):
            assert last[measure] > plain[measure]
        for measure in ("near_duplicates", "gini_creators"):
            assert last[measure] < plain[measure]
    assert of(report, "arrange")[-1]["creators"] > of(report, "arrange")[0]["creators"] > plain["creators"]
    # log det is what a DPP maximises: at full strength nobody has more of it.
    assert of(report, "dpp")[-1]["log_det"] >= max(
        of(report, m)[-1]["log_det"] for m in ("mmr", "ssd", "arrange")
    )


def test_sweep_omits_measures_of_missing_columns(tmp_path):
    report = diversity_sweep(pools(columns=()), k=5, diversities=(0.5,))
    assert not of(report, "arrange") and "creators" not in report["points"][0]
    data, shown = write_diversity(report, tmp_path)
    assert json.loads(data.read_text()) == {"format": 1, **report} and shown.read_text().count("<svg") == 4


def test_diversity_sweep_needs_pools_and_a_positive_k():
    with pytest.raises(ValueError, match="no pools, expected at least one"):
        diversity_sweep([], k=5)
    with pytest.raises(ValueError, match="k must be positive, got 0"):
        diversity_sweep(pools(), k=0)
