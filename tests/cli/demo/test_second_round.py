"""The demo's towers learn from logged requests, and their version serves."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_job import TASKS

from karec.bundle import Bundle
from karec.lab.demo.second_round import make_requests, run_second_round
from karec.lab.simulate.world import make_world
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request


@pytest.fixture(scope="module")
def dataset():
    return make_world(300, 40, 1000, seed=0).dataset


def ignore(*_):
    return None


def test_second_version_serves_with_other_towers(job, report):
    first, second = (Bundle.open(job / "bundles" / f"v000000000{version}") for version in (1, 2))
    assert report["versions"]["model"] == Bundle.open(job / "bundles").model_version == 2
    assert first.ranker.fingerprint == second.ranker.fingerprint
    np.testing.assert_array_equal(first.index.ids, second.index.ids)
    rows = np.arange(50)
    assert np.abs(first.index.embeddings(rows) - second.index.embeddings(rows)).max() > 1e-3


def test_rank_log_has_the_shadow_requests_that_taught(job, report):
    log = read_rank_log(job / "rank_log", TASKS)
    log = log.take(log.model_version == 1)
    names = {f"shadow-{user}" for user in log.user_id.tolist()}
    assert set(log.request_id) == set(log.request_id[log.shadow]) == names
    assert len(names) == report["second_round"]["taught_requests"] == 12
    pools = [len(pool) for pool in log.take(log.shadow).requests()]
    ranked = [len(items) for items in log.take(~log.shadow).requests()]
    assert min(pools) > max(ranked)


def test_second_round_compares_what_prerank_keeps(report):
    second_round = report["second_round"]
    assert second_round["requests"] == 6 and second_round["pool"] > 100
    assert second_round["kept"].keys() == {"inner_product", "prerank"}
    for part in second_round["kept"].values():
        assert part.keys() == {"top10", "top100"}
        for kept in part.values():
            difference = kept["after"]["value"] - kept["before"]["value"]
            assert kept["change"]["value"] == pytest.approx(difference)
            assert kept["change"]["ci"][0] <= kept["change"]["value"] <= kept["change"]["ci"][1]
            assert 0 <= kept["after"]["value"] <= 1


def test_same_version_keeps_the_same_items_of_a_pool(job, bundle, tmp_path):
    shutil.copytree(job / "bundles", tmp_path / "bundles", symlinks=True)
    config = shutil.copy(job / "karec.toml", tmp_path / "karec.toml")
    users, logs = bundle.snapshot.users.ids[:4].tolist(), []
    requests = [
        Request(user, scene="home", time_ms=bundle.snapshot.time_ms, request_id=str(user)) for user in users
    ]
    second_round = run_second_round(config, requests[:3], requests[3:], logs.append, ignore)
    for part in second_round["kept"].values():
        for kept in part.values():
            assert kept["before"] == kept["after"] and kept["change"]["value"] == 0
    assert set(read_rank_log(logs[0], TASKS).user_id) == {users[3]}


def test_users_who_teach_are_not_measured(dataset):
    held_out, shadow = make_requests(dataset, 10)
    assert len(held_out) == 5 and len(shadow) == 10
    assert not {request.user_id for request in held_out} & {request.user_id for request in shadow}


def test_no_user_teaches_if_there_is_one_user(dataset):
    user = dataset.split()[2].user_id[0]
    alone = replace(dataset, exposures=dataset.exposures.take(dataset.exposures.user_id == user))
    held_out, shadow = make_requests(alone, 10)
    assert [request.user_id for request in held_out] == [user] and not shadow
