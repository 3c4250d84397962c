"""A bundle of the demo serves: rules hold, answers repeat, threads share one cascade, shadows change
nothing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_job import TASKS

import karec
from karec.errors import ConfigError
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request


def test_a_feed_keeps_the_rules(cascade, bundle):
    for user in bundle.snapshot.users.ids[:20]:
        feed = cascade.run(Request(int(user), time_ms=bundle.snapshot.time_ms))
        assert len(feed) == 10
        assert not feed.is_cold_start
        assert feed.degraded == ()
        for column in ("song_id", "creator_id"):
            values = bundle.snapshot.works[column][bundle.snapshot.works.lookup(feed.candidates.ids)]
            assert (values[1:] != values[:-1]).all()


def test_the_same_request_gives_the_same_feed(still, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), scene="still", time_ms=bundle.snapshot.time_ms)
    first, second = still.run(request), still.run(request)
    np.testing.assert_array_equal(first.candidates.ids, second.candidates.ids)
    np.testing.assert_array_equal(first.candidates.scores, second.candidates.scores)


def test_threads_share_one_cascade(still, bundle):
    requests = [
        Request(int(user), scene="still", time_ms=bundle.snapshot.time_ms)
        for user in bundle.snapshot.users.ids[:40]
    ]
    alone = [still.run(request) for request in requests]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(still.run, requests))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.candidates.ids, other.candidates.ids)
        np.testing.assert_array_equal(one.candidates.scores, other.candidates.scores)


def test_a_shadow_request_logs_its_whole_pool_and_changes_nothing(still, bundle, job, shadowed):
    log = read_rank_log(job / "shadow_log", TASKS)
    for feed in shadowed[1]:
        rows = log.take(log.shadow & (log.request_id == feed.request.request_id))
        pool = feed.scored["prerank"]
        np.testing.assert_array_equal(rows.item_id, np.sort(pool.ids))
        scores = bundle.index.scores(feed.request.features["user_vector"][0], ids=rows.item_id)
        np.testing.assert_array_equal(rows.prerank, scores)
        ranked = feed.scored["rank"]
        np.testing.assert_allclose(
            rows.fused[np.searchsorted(rows.item_id, ranked.ids)], ranked.scores, atol=1e-6
        )
        assert feed.degraded == ()
        plain = still.run(Request(feed.request.user_id, scene="still", time_ms=feed.request.time_ms))
        np.testing.assert_array_equal(plain.candidates.ids, feed.candidates.ids)


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
def test_a_shadow_that_cannot_be_is_refused_with_its_place(job, key, message):
    config = job / "wrong.toml"
    share = "" if key.startswith("share") else "share = 0.02, "
    config.write_text((job / "karec.toml").read_text().replace("share = 0.02, ", f"{share}{key}, "))
    with pytest.raises(ConfigError, match=f"scenes.home.side_effects.*{message}"):
        karec.open(config, scene="home")


def test_what_was_shown_does_not_come_again(cascade, bundle):
    request = Request(int(bundle.snapshot.users.ids[3]), time_ms=bundle.snapshot.time_ms)
    shown = tuple(cascade.run(request).candidates.ids.tolist())
    again = cascade.run(Request(request.user_id, time_ms=request.time_ms, shown=shown))
    assert not set(shown) & set(again.candidates.ids.tolist())


def test_a_user_never_seen_is_served_and_told_so(cascade, bundle):
    feed = cascade.run(Request(10**15, time_ms=bundle.snapshot.time_ms))
    assert feed.is_cold_start
    assert len(feed) == 10


def test_the_user_vector_is_computed_once_a_request(cascade, bundle):
    feed = cascade.run(Request(int(bundle.snapshot.users.ids[0]), time_ms=bundle.snapshot.time_ms))
    assert [step.step for step in feed.trace.steps].count("user_tower") == 1


def test_the_first_request_of_a_process_loads_no_module(job):
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
feed = karec.open({str(job / "karec.toml")!r}).run(karec.Request(1, time_ms=1))
heavy = {{"torch", "onnx", "lightgbm", "numba", "karec.learn"}} & set(sys.modules)
assert not heavy, heavy
assert len(feed) == 10
"""
    subprocess.run([sys.executable, "-c", program], check=True)
