"""Overload: some calls are refused at once, the others are served as usual. Limits of rates."""

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from live_bundle import live_config
from running_service import RunningService, with_serve_table

from karec.serve.admission import AdmissionQueue, RateLimit
from karec.serve.problems import ProblemError

USER = 1


class Waits:
    """Collects the waits that a queue reports."""

    def __init__(self):
        self.seconds = []

    def add_queue_wait(self, queue, seconds):
        self.seconds.append(seconds)


@pytest.fixture
def queue():
    queue = AdmissionQueue("test", threads=1, max_wait_ms=100, max_size=4, metrics=Waits())
    yield queue
    queue.close()


@pytest.fixture
def blocked_queue(queue):
    """Yields a function that runs a coroutine while the only thread of the queue is blocked."""
    release = threading.Event()

    def run(coroutine):
        async def block_and_run():
            blocked = asyncio.create_task(queue.run(release.wait))
            await asyncio.sleep(0)
            try:
                await coroutine()
            finally:
                release.set()
                await blocked

        asyncio.run(block_and_run())

    return run


def retry_after_of(problem):
    return int(problem.response().headers["retry-after"])


def test_call_that_would_wait_too_long_is_refused_with_retry_after(queue, blocked_queue):
    async def check():
        queue.mean_ms = 60_000.0
        with pytest.raises(ProblemError, match="about 60000 ms, expected at most 100 ms") as refusal:
            queue.check()
        assert refusal.value.status == 503 and 60 <= retry_after_of(refusal.value) <= 62

    queue.check()
    blocked_queue(check)


def test_retry_after_of_refused_calls_is_spread(queue, blocked_queue):
    async def check():
        queue.mean_ms = 101.0
        seconds = set()
        for _ in range(100):
            with pytest.raises(ProblemError) as refusal:
                queue.check()
            seconds.add(retry_after_of(refusal.value))
        assert min(seconds) == 1 and len(seconds) > 1

    blocked_queue(check)


def test_deadline_limits_the_wait(queue, blocked_queue):
    async def check():
        queue.max_wait_ms = 100_000.0
        queue.mean_ms = 50_000.0
        queue.check(max_wait_ms=60_000)
        with pytest.raises(ProblemError, match="at most 5000 ms"):
            queue.check(max_wait_ms=5_000)

    queue.check(max_wait_ms=-5)  # a thread is free: the fallbacks may still be in time
    blocked_queue(check)


def test_queue_that_is_full_refuses(queue, blocked_queue):
    async def check():
        waiting = [asyncio.create_task(queue.run(lambda: None)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match="4 calls run or wait, expected at most 4"):
            queue.check()
        for call in waiting:
            call.cancel()

    blocked_queue(check)


def test_calls_run_in_their_order_and_get_their_own_results(queue):
    order = []

    def work(number):
        order.append(number)
        if number == 3:
            raise KeyError(number)
        return -number

    async def run():
        calls = (queue.run(lambda number=number: work(number)) for number in range(6))
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(run())
    assert order == [*range(6)]
    assert isinstance(results[3], KeyError) and results[:3] + results[4:] == [0, -1, -2, -4, -5]
    assert queue.n_calls == 0 and len(queue._metrics.seconds) == 6


def test_blocked_call_is_reported_with_its_time(queue, blocked_queue):
    async def check():
        while queue.longest_run_s() == 0.0:
            await asyncio.sleep(0.001)

    assert queue.longest_run_s() == 0.0
    blocked_queue(check)
    assert queue.longest_run_s() == 0.0


def one_thread_config(folder, table):
    path = with_serve_table(live_config(folder), table)
    path.write_text("threads = 1\n" + path.read_text())
    return path


def queue_of(service, name="recommend"):
    return service.client.get("/v1/status").json()["queues"][name]


def test_single_request_waits_for_one_request_of_a_batch(tmp_path):
    path = one_thread_config(tmp_path, "max_queue_ms = 60_000\nmax_batch_size = 500")
    with RunningService(path) as service, ThreadPoolExecutor(1) as pool:
        requests = [{"user_id": USER, "request_id": str(i)} for i in range(400)]
        batch = pool.submit(service.post, "/v1/recommend", {"requests": requests})
        service.wait_until(lambda: queue_of(service)["n_calls"])
        service.ask(USER)
        assert not batch.done()
        pages = batch.result().json()["pages"]
        assert [page["request_id"] for page in pages] == [str(i) for i in range(400)]
        assert all(len(page["items"]) == 10 for page in pages)


def test_batch_ends_at_a_passed_deadline(tmp_path):
    with RunningService(one_thread_config(tmp_path, "max_queue_ms = 60_000")) as service:
        requests = [{"user_id": USER, "deadline_ms": 0.001}, *[{"user_id": USER}] * 4]
        response = service.post("/v1/recommend", {"requests": requests})
        assert response.status_code == 503 and "deadline passed" in response.json()["detail"]
        assert queue_of(service)["n_calls"] == 0 and queue_of(service)["mean_ms"] == 0
        assert service.ask(USER)["items"]


def test_batch_ends_if_its_client_has_left(tmp_path):
    path = one_thread_config(tmp_path, "max_queue_ms = 60_000\nmax_batch_size = 1000")
    with RunningService(path) as service:
        body = json.dumps({"requests": [{"user_id": 1}] * 1000}).encode()
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            client.sendall(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
            service.wait_until(lambda: queue_of(service)["n_calls"])
        service.wait_until(lambda: 'reason="client left"} 1.0' in service.client.get("/metrics").text)
        assert service.ask(USER)["items"]


def test_overload_gets_pages_and_refusals(tmp_path):
    path = one_thread_config(tmp_path, "max_queue_size = 4")
    with RunningService(path) as service, ThreadPoolExecutor(16) as pool:
        responses = [*pool.map(lambda user: service.post("/v1/recommend", {"user_id": user}), range(64))]
        refused = [response for response in responses if response.status_code == 503]
        pages = [response.json() for response in responses if response.status_code == 200]
        assert {response.status_code for response in responses} == {200, 503}
        assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
        assert all(len(page["items"]) == 10 for page in pages)
        assert service.ask(USER)["items"] and queue_of(service)["n_calls"] == 0


def test_tries_do_not_starve_blocks_of_items(tmp_path):
    with (
        RunningService(one_thread_config(tmp_path, "page = true")) as service,
        ThreadPoolExecutor(33) as pool,
    ):
        ended = threading.Event()

        def try_on():
            while not ended.is_set():
                assert service.post("/v1/try", {"user_id": USER}).status_code in (200, 503)

        tries = [pool.submit(try_on) for _ in range(32)]
        try:
            service.wait_until(lambda: queue_of(service, "lookup")["n_calls"] > 4)
            rows = [{"event": "block", "item_id": 100 + 7 * i} for i in range(16)]
            statuses = [service.post("/v1/items", {"items": [row]}).status_code for row in rows]
        finally:
            ended.set()
        assert statuses == [200] * 16
        for call in tries:
            call.result()


def test_rate_limit_holds_the_calls_of_one_second():
    now = [5.0]
    limit = RateLimit(4, clock=lambda: now[0])
    assert [limit.take() for _ in range(4)] == [0.0] * 4
    assert limit.take() == 0.25
    now[0] += 0.125
    assert limit.take() == 0.125
    now[0] += 100.0
    assert [limit.take() for _ in range(5)] == [0.0] * 4 + [0.25]


def newest(bound):
    return {"user_id": USER, "where": {"column": "upload_ms", "at_least": bound}}


def test_only_new_conditions_are_limited(tmp_path):
    """One a second is new: the batch would take half a minute."""
    path = one_thread_config(tmp_path, "max_queue_ms = 60_000\nmax_new_conditions_per_s = 1")
    with RunningService(path) as service:
        assert service.post("/v1/recommend", newest(0)).status_code == 200
        answer = service.post("/v1/recommend", {"requests": [newest(bound) for bound in range(1, 33)]})
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1, answer.text
        field = answer.json()["field"]
        assert field.startswith("requests[") and field.endswith("].where")
        assert 'reason="too many new conditions"} 1.0' in service.client.get("/metrics").text
        batch = {"requests": [newest(0)] * 32}
        assert service.post("/v1/recommend", batch).status_code == 200
        block = {"event": "block", "item_id": 100}
        assert service.post("/v1/items", {"items": [block]}).json()["events"] == 1
        assert service.post("/v1/recommend", batch).status_code == 200
        item = {"item_id": 107, "k": 3}
        answers = [service.post("/v1/similar", {**item, "where": newest(i)["where"]}) for i in range(40, 72)]
        assert 429 in {answer.status_code for answer in answers}
        assert service.post("/v1/similar", {**item, "where": newest(0)["where"]}).status_code == 200
