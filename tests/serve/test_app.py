"""The application of one worker without its process: errors, counting of responses, and health."""

import asyncio

import httpx
import pytest

from karec.serve.admission import AdmissionQueue
from karec.serve.app import Gate, build_app, route_of
from karec.serve.auth import Tokens
from karec.serve.problems import ProblemError


class Metrics:
    """Collects what the application counts."""

    def __init__(self):
        self.responses = []
        self.refusals = []
        self.n_in_flight = 0

    def change_in_flight(self, route, change):
        self.n_in_flight += change

    def add_response(self, route, status, seconds):
        self.responses.append((route, status))

    def count_refusal(self, reason):
        self.refusals.append(reason)


class StartingService:
    """A service that has not opened its bundle. With `error`, reading `served` fails."""

    def __init__(self, tokens=(), error=None):
        self.tokens = Tokens(dict(tokens))
        self._error = error
        self.metrics = Metrics()
        self.recommend_queue = AdmissionQueue("recommend", 1, 100.0, 4, self.metrics)
        self.event_queue = self.lookup_queue = self.recommend_queue
        self.queues = (self.recommend_queue,)

    @property
    def served(self):
        if self._error is not None:
            raise self._error


def call(service, method, path, **options):
    async def send():
        transport = httpx.ASGITransport(Gate(build_app(service), service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def test_error_is_logged_once_and_the_response_does_not_contain_it(caplog):
    service = StartingService(error=KeyError("secret"))
    response = call(service, "GET", "/version")
    assert response.status_code == response.json()["status"] == 500 and "secret" not in response.text
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
    assert service.metrics.responses == [("/version", 500)] and service.metrics.n_in_flight == 0


def test_call_without_a_token_reaches_no_route():
    service = StartingService({"token": (b"",)})
    assert call(service, "GET", "/v1/status").status_code == 401
    assert service.metrics.responses == [("/v1/status", 401)]


def test_refusal_of_a_full_queue_is_counted_and_its_body_is_not_read():
    async def body():
        raise AssertionError
        yield b""

    service = StartingService()
    service.recommend_queue.n_calls = 4
    response = call(service, "POST", "/v1/recommend", content=body())
    assert response.status_code == 503 and int(response.headers["retry-after"]) >= 1
    assert service.metrics.refusals == ["queue full"]
    with pytest.raises(ProblemError):
        service.recommend_queue.check()


def test_health_is_503_if_a_thread_is_blocked():
    service = StartingService()
    service.recommend_queue.longest_run_s = lambda: 61.0
    response = call(service, "GET", "/healthz")
    assert response.status_code == 503
    assert (response.json()["status"], response.json()["longest_run_s"]) == ("blocked", 61.0)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/try", "/v1/try"),
        ("/v1/users/7/x", "/v1/users/ID"),
        ("/v1/users", "other"),
        ("/v1/items/7", "/v1/items/ID"),
        ("/page.js", "other"),
    ],
)
def test_routes_have_few_names(path, route):
    assert route_of(path) == route
