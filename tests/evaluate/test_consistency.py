"""Tests of the consistency of pre-ranking and ranking over pools."""

import numpy as np
import pytest

from karec.errors import DataError
from karec.evaluate.consistency import ScoredPool, consistency, logged_pools
from karec.evaluate.metrics.agreement import ndcg_against, normalised_hit_rate
from karec.logs.write import RankLogWriter


def pools(n_pools, n_works, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    for index in range(n_pools):
        rank = generator.standard_normal(n_works)
        yield ScoredPool(index % 7, rank + noise * generator.standard_normal(n_works), rank)


def test_consistency_is_the_mean_over_pools():
    measured_pools = consistency(pools(20, 300))
    prerank, rank = (
        np.stack([getattr(pool, side) for pool in pools(20, 300)]) for side in ("prerank", "rank")
    )
    expected = {
        "ranker's top 10 in 10": normalised_hit_rate(prerank, rank, 10, 10),
        "ranker's top 10 in 50": normalised_hit_rate(prerank, rank, 10, 50),
        "ranker's top 50 in 50": normalised_hit_rate(prerank, rank, 50, 50),
        "ranker's top 50 in 100": normalised_hit_rate(prerank, rank, 50, 100),
        "NDCG@50": ndcg_against(prerank, rank, 50),
    }
    assert measured_pools["measures"].pop("ranker's top 100 in 1000") == {
        "value": None,
        "ci": None,
        "pools": 0,
    }
    assert measured_pools["measures"].keys() == expected.keys()
    for name, values in expected.items():
        measured = measured_pools["measures"][name]
        assert measured["value"] == pytest.approx(values.mean()) and measured["pools"] == 20
        assert measured["ci"][0] < measured["value"] < measured["ci"][1]
    assert (measured_pools["pools"], measured_pools["users"], measured_pools["pool_size"]["median"]) == (
        20,
        7,
        300,
    )


def test_consistency_is_1_if_prerank_equals_rank():
    measured_pools = consistency(pools(5, 1200, noise=0.0))
    assert all(measured["value"] == pytest.approx(1.0) for measured in measured_pools["measures"].values())


def test_consistency_leaves_out_small_pools_per_measure():
    measured_pools = consistency([*pools(3, 300), *pools(2, 60)])
    counted = {name: measured["pools"] for name, measured in measured_pools["measures"].items()}
    assert counted["ranker's top 50 in 50"] == 5 and counted["ranker's top 50 in 100"] == 3
    assert measured_pools["pool_size"] == {"min": 60, "median": 300, "max": 300}


def test_consistency_refuses_no_pool_and_no_shadow_requests(tmp_path):
    with pytest.raises(DataError, match="no pool"):
        consistency([])
    with RankLogWriter(tmp_path, ("click",)) as writer:
        log(writer, "r", np.zeros(3), None)
    with pytest.raises(DataError, match="no shadow request"):
        logged_pools(tmp_path)


def log(writer, request_id, fused, prerank, user_id=1):
    n = len(fused)
    writer.append(
        request_id=request_id,
        user_id=user_id,
        item_ids=np.arange(n),
        scene="home",
        time_ms=1,
        model_version=1,
        logits=np.zeros((n, 1), np.float32),
        fused=np.asarray(fused, np.float32),
        shadow=prerank is not None,
        prerank=None if prerank is None else np.asarray(prerank, np.float32),
    )


def test_logged_pools_equal_the_scored_pools(tmp_path):
    generator = np.random.default_rng(2)
    fused, prerank = generator.random((2, 3, 40)).astype(np.float32)
    prerank[1, 5] = np.nan  # a work that prerank does not know
    with RankLogWriter(tmp_path, ("click",)) as writer:
        for index in range(3):
            log(writer, f"r{index}", fused[index], prerank[index], user_id=index)
            log(writer, f"r{index}", fused[index, :5], None, user_id=index)
    measured_pools = list(logged_pools(tmp_path))
    assert [pool.user_id for pool in measured_pools] == [0, 1, 2]
    for index, pool in enumerate(measured_pools):
        known = np.isfinite(prerank[index])
        np.testing.assert_array_equal(pool.prerank, prerank[index, known])
        np.testing.assert_array_equal(pool.rank, fused[index, known])
