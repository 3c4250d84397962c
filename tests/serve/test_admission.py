"""More requests than can be answered in time: some are refused at once, the others are answered as ever."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from live_bundle import live_config
from running_service import RunningService

from karec.serve.admission import Lane
from karec.serve.board import ABSENT, READY, Board
from karec.serve.problems import ProblemError
from karec.serve.turns import Turn

USER = 1


@pytest.fixture
def lane():
    told = Board(1).lane(0, "recommend")
    lane = Lane("lane", threads=1, wait_ms=100, most=10, refused=lambda reason: None, told=told)
    yield lane
    lane.close()


def busy(lane, ms):
    """A request that is expected to take so long runs from now on."""
    lane.turns.usual_ms = ms
    turn = Turn()
    lane.turns.comes(turn)
    lane.turns.begins(turn, time.perf_counter())


def test_what_would_wait_too_long_is_refused_and_says_when_to_come_again(lane):
    busy(lane, 60_000)
    with pytest.raises(ProblemError, match="for a thread, at most 100 ms are") as refused:
        lane.check()
    assert refused.value.status == 503 and 59 <= refused.value.retry_after <= 60


def test_what_a_deadline_leaves_bounds_the_wait(lane):
    lane.check(spare_ms=-5)  # nobody is before it: by substitutes, late or not
    lane.wait_ms = 100_000
    busy(lane, 60_000)
    lane.check(spare_ms=60_001)
    with pytest.raises(ProblemError, match="at most 5000"):
        lane.check(spare_ms=5_000)


def test_no_more_are_inside_than_may_be_but_one_batch_always_may(lane):
    lane.check(64)
    with lane.entered(8):
        lane.check(2)
        with pytest.raises(ProblemError, match="at most 10"):
            lane.check(3)


def test_what_is_inside_is_told_of_all_workers_and_counts_outlive_a_worker():
    board = Board(2)
    first, second = board.lane(0, "recommend"), board.lane(1, "recommend")
    for row in (first, second):
        row["inside"], row["threads"], row["usual_ms"], row["answered"] = 3, 1, 10.0, 7
    board.enter(0, READY, 1)
    board.enter(1, ABSENT, 0)
    told = board.admission()["recommend"]
    assert told["inside"] == 3 and told["threads"] == 1 and told["usual_ms"] == 10.0
    assert told["counts"] == {"answered": 14, "too many at once": 0, "would wait too long": 0}
    assert board.lane(1, "recommend")["answered"] == 7


def test_a_thread_outlives_an_end_that_fails(lane, caplog):
    def ends(value, error):
        raise KeyError(value)

    lane.hand(Turn(), ends, lambda: 1)

    async def ask():
        return await lane.call(lambda: 2)

    assert asyncio.run(ask()) == 2
    assert "KeyError" in caplog.text


def test_calls_of_one_thread_are_made_in_their_order_and_each_gets_its_own_answer(lane):
    made = []

    def work(number):
        made.append(number)
        if number == 3:
            raise KeyError(number)
        return -number

    async def ask():
        return await asyncio.gather(*(lane.call(work, number) for number in range(6)), return_exceptions=True)

    found = asyncio.run(ask())
    assert made == [*range(6)]
    assert isinstance(found[3], KeyError) and found[:3] + found[4:] == [0, -1, -2, -4, -5]
    assert lane.turns.waiting_ms(time.perf_counter()) == 0


def test_a_single_request_waits_for_one_of_a_batch_and_not_for_all_of_it(tmp_path):
    path = live_config(tmp_path)
    path.write_text(
        "threads = 1\n"
        + path.read_text().replace(
            "[live]", "[serve]\nwait_ms = 60_000\nbatch = 500\nrequests_at_once = 1000\n[live]"
        )
    )
    with RunningService(path) as service, ThreadPoolExecutor(1) as pool:
        asked = {"requests": [{"user": USER, "request_id": str(at)} for at in range(400)]}
        batch = pool.submit(service.post, "/v1/recommend", asked)
        service.until(
            lambda: service.client.get("/v1/status").json()["admission"]["recommend"]["inside"] == 400
        )
        service.ask(USER)
        assert not batch.done()
        answers = batch.result().json()["answers"]
        assert [each["request_id"] for each in answers] == [str(at) for at in range(400)]
        assert all(len(each["items"]) == 10 for each in answers)


def test_of_a_batch_whose_deadline_passes_the_rest_does_not_run(tmp_path):
    path = live_config(tmp_path)
    path.write_text("threads = 1\n" + path.read_text().replace("[live]", "[serve]\nwait_ms = 60_000\n[live]"))
    with RunningService(path) as service:
        patient = [{"user": USER}] * 4
        hasty = [{"user": USER, "deadline_ms": 0.001}]
        answer = service.post("/v1/recommend", {"requests": [*hasty, *patient]})
        assert answer.status_code == 503 and "deadline passed" in answer.json()["detail"]
        told = service.client.get("/v1/status").json()["admission"]["recommend"]
        assert told["inside"] == 0 and told["counts"]["answered"] == 0
        assert service.ask(USER)["items"]


def test_a_batch_whose_client_has_left_ends_before_its_next_request(tmp_path):
    path = live_config(tmp_path)
    patient = "[serve]\nwait_ms = 60_000\nbatch = 1000\nrequests_at_once = 2000\n[live]"
    path.write_text("threads = 1\n" + path.read_text().replace("[live]", patient))
    with RunningService(path) as service:
        body = b'{"requests": [%s]}' % b", ".join([b'{"user": 1}'] * 1000)
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            client.sendall(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
            service.until(lambda: inside(service)["inside"] == 1000)
        service.until(lambda: inside(service)["inside"] == 0)
        assert inside(service)["counts"]["answered"] < 1000
        assert service.ask(USER)["items"]
        assert 'karec_refusals_total{reason="client left"} 1.0' in service.client.get("/metrics").text


def inside(service):
    return service.client.get("/v1/status").json()["admission"]["recommend"]


def test_under_more_load_than_it_bears_it_answers_some_refuses_others_and_goes_on(tmp_path):
    path = live_config(tmp_path)
    path.write_text(
        "threads = 1\n" + path.read_text().replace("[live]", "[serve]\nrequests_at_once = 4\n[live]")
    )
    with RunningService(path) as service, ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda user: service.post("/v1/recommend", {"user": user}), range(64))]
        refused = [each for each in answers if each.status_code == 503]
        assert {each.status_code for each in answers} == {200, 503}
        assert all(int(each.headers["retry-after"]) >= 1 and each.json()["detail"] for each in refused)
        assert all(len(each.json()["items"]) == 10 for each in answers if each.status_code == 200)
        assert service.post("/v1/recommend", {"user": USER}).status_code == 200
        told = service.client.get("/v1/status").json()["admission"]["recommend"]
        assert told["inside"] == 0 and sum(told["counts"].values()) == 65


def test_a_request_whose_body_comes_after_its_head_is_let_in_by_what_is_inside_then(tmp_path):
    path = live_config(tmp_path)
    limits = "[serve]\nwait_ms = 60_000\nbatch = 500\nrequests_at_once = 4\n[live]"
    path.write_text("threads = 1\n" + path.read_text().replace("[live]", limits))
    body = b'{"user": 1}'
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with RunningService(path) as service, ThreadPoolExecutor(1) as pool:
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as late:
            late.sendall(head + b"content-length: %d\r\n\r\n" % len(body))
            batch = {"requests": [{"user": USER}] * 500}
            answered = pool.submit(service.post, "/v1/recommend", batch)
            service.until(lambda: inside(service)["inside"] == 500)
            late.sendall(body)
            assert late.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
        assert answered.result().status_code == 200
