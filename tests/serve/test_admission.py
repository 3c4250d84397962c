"""More requests than can be answered in time: some are refused at once, the others are answered as ever."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from live_bundle import live_config
from running_service import RunningService

from karec.serve.admission import Lane
from karec.serve.problems import ProblemError

USER = 1


@pytest.fixture
def lane():
    return Lane(threads=2, wait_ms=100, most=10, refused=lambda reason: None)


def test_a_request_that_finds_a_free_thread_is_let_in_however_long_others_took(lane):
    lane.took(60_000)
    with lane.entered():
        lane.check()
        assert lane.waiting_ms() == 0


def test_the_wait_is_of_those_before_and_of_the_time_that_requests_take(lane):
    lane.took(80)
    with lane.entered(2):
        assert lane.waiting_ms() == 40
        with lane.entered(2):
            assert lane.waiting_ms() == 120
            with pytest.raises(ProblemError) as refused:
                lane.check()
    assert (refused.value.status, refused.value.retry_after) == (503, 1)
    lane.check()


def test_what_a_deadline_leaves_bounds_the_wait(lane):
    lane.took(80)
    with lane.entered(2):
        lane.check(spare_ms=50)
        with pytest.raises(ProblemError, match="wait about 40 ms for a thread, at most 30"):
            lane.check(spare_ms=30)
    lane.check(spare_ms=-5)  # nobody is before it: by substitutes, late or not


def test_a_request_shares_its_time_with_those_behind_it(lane):
    with lane.entered(2):
        assert lane.turns() == 1
        with lane.entered(3):
            assert lane.turns() == 2.5


def test_no_more_are_inside_than_may_be_but_one_batch_always_may(lane):
    lane.check(64)
    with lane.entered(8):
        lane.check(2)
        with pytest.raises(ProblemError, match="at most 10"):
            lane.check(3)


def test_under_more_load_than_it_bears_it_answers_some_refuses_others_and_goes_on(tmp_path):
    path = live_config(tmp_path)
    path.write_text("threads = 1\n" + path.read_text().replace("[live]", "[serve]\nrequests_at_once = 4\n[live]"))
    with RunningService(path) as service, ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda user: service.post("/v1/recommend", {"user": user}), range(64))]
        refused = [each for each in answers if each.status_code == 503]
        assert {each.status_code for each in answers} == {200, 503}
        assert all(int(each.headers["retry-after"]) >= 1 and each.json()["detail"] for each in refused)
        assert all(len(each.json()["items"]) == 10 for each in answers if each.status_code == 200)
        assert service.post("/v1/recommend", {"user": USER}).status_code == 200
        told = service.client.get("/v1/status").json()["admission"]["recommend"]
        assert told["inside"] == 0 and sum(told["counts"].values()) == 65
