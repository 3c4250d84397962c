"""A cascade over the demo's bundle: rules, repeated requests, threads and shadow requests."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small_job import TASKS

import karec
from karec.errors import ConfigError, ContractError
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request


def test_page_satisfies_the_rules(cascade, bundle):
    has_events = bundle.snapshot.users["count_exposed"] > 0
    for row, user in enumerate(bundle.snapshot.users.ids[:20]):
        page = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
        assert len(page) == 10
        assert page.is_cold_start == (not has_events[row])
        assert page.degraded == ()
        for column in ("song_id", "creator_id"):
            values = bundle.snapshot.works[column][bundle.snapshot.works.lookup(page.candidates.ids)]
            assert (values[1:] != values[:-1]).all()


def test_equal_requests_give_equal_pages(still, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), scene="still", time_ms=bundle.snapshot.time_ms)
    first, second = still.run(request), still.run(request)
    np.testing.assert_array_equal(first.candidates.ids, second.candidates.ids)
    np.testing.assert_array_equal(first.candidates.scores, second.candidates.scores)


def test_threads_share_one_cascade(still, bundle):
    requests = [
        Request(int(user), scene="still", time_ms=bundle.snapshot.time_ms)
        for user in bundle.snapshot.users.ids[:40]
    ]
    single = [still.run(request) for request in requests]
    with ThreadPoolExecutor(8) as threads:
        parallel = list(threads.map(still.run, requests))
    for one, other in zip(single, parallel, strict=True):
        np.testing.assert_array_equal(one.candidates.ids, other.candidates.ids)
        np.testing.assert_array_equal(one.candidates.scores, other.candidates.scores)


def test_shadow_request_logs_its_pool_and_changes_no_page(still, bundle, job, shadowed):
    log = read_rank_log(job / "shadow_log", TASKS)
    for page in shadowed[1]:
        rows = log.take(log.shadow & (log.request_id == page.request.request_id))
        pool = page.scored["prerank"]
        np.testing.assert_array_equal(rows.item_id, np.sort(pool.ids))
        query, tables = (page.request.features[name][0] for name in ("user_vector", "user_tables"))
        scores = bundle.index.scores(query, ids=rows.item_id, tables=tables)
        np.testing.assert_array_equal(rows.prerank, scores)
        ranked = page.scored["rank"]
        np.testing.assert_allclose(
            rows.fused[np.searchsorted(rows.item_id, ranked.ids)], ranked.scores, atol=1e-6
        )
        assert page.degraded == ()
        plain = still.run(Request(page.request.user_id, scene="still", time_ms=page.request.time_ms))
        np.testing.assert_array_equal(plain.candidates.ids, page.candidates.ids)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ('pool = "nowhere"', "shadow reads the stage 'nowhere'"),
        ('stage = "nowhere"', "no stage 'nowhere'"),
        ("share = 2.0", "share must be above 0 and at most 1"),
        ("flush_seconds = 0", "flush_seconds must be positive, got 0"),
        (
            'on_failure = "fail"',
            "shadow runs after the page was returned and cannot fail it: remove on_failure",
        ),
    ],
)
def test_config_rejects_unusable_shadow_settings(job, key, message):
    config = job / "wrong.toml"
    share = "" if key.startswith("share") else "share = 0.02, "
    config.write_text((job / "karec.toml").read_text().replace("share = 0.02, ", f"{share}{key}, "))
    with pytest.raises(ConfigError, match=f"scenes.home.side_effects.*{message}"):
        karec.open(config, scene="home")


def test_shown_items_are_not_on_the_next_page(cascade, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), time_ms=bundle.snapshot.time_ms)
    shown = tuple(cascade.run(request).candidates.ids.tolist())
    again = cascade.run(Request(request.user_id, time_ms=request.time_ms, shown=shown))
    assert not set(shown) & set(again.candidates.ids.tolist())


def test_unknown_user_gets_a_page_marked_as_cold_start(cascade, bundle):
    page = cascade.run(Request(10**15, time_ms=bundle.snapshot.time_ms))
    assert page.is_cold_start
    assert len(page) == 10


def test_user_vector_is_computed_once_per_request(cascade, bundle):
    page = cascade.run(Request(int(bundle.snapshot.users.ids[0]), time_ms=bundle.snapshot.time_ms))
    assert [step.step for step in page.trace.steps].count("user_tower") == 1


def test_first_request_of_a_process_loads_no_module(job):
    program = f"""
import sys
import karec
cascade = karec.open({str(job / "karec.toml")!r})
user, time_ms = int(cascade.bundle.snapshot.users.ids[0]), cascade.bundle.snapshot.time_ms
before = set(sys.modules)
cascade.run(karec.Request(user, time_ms=time_ms))
print(*sorted(set(sys.modules) - before))
cascade.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_serving_never_loads_torch(job):
    program = f"""
import sys
import karec
page = karec.open({str(job / "karec.toml")!r}).run(karec.Request(1, time_ms=1))
heavy = {{"torch", "onnx", "lightgbm", "numba", "karec.learn"}} & set(sys.modules)
assert not heavy, heavy
assert len(page) == 10
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_user_vector_is_the_one_of_a_request(cascade, bundle):
    user = int(bundle.snapshot.users.ids[3])
    page = cascade.run(Request(user))
    vector = cascade.user_vector(user)
    assert vector.dtype == np.float32 and vector.shape == (cascade.index.dim,)
    np.testing.assert_array_equal(vector, page.request.features["user_vector"][-1])
    with pytest.raises(ContractError, match="put user_tower into its query"):
        replace(cascade, query_hydrators=()).user_vector(user)
