"""Refusals become Problem, silence becomes Unreachable, and what may be tried again is."""

import socket

import pytest
from scripted_service import BREAK, good

from karec.client import Client, Problem, Unreachable
from karec.client.attempts import seconds_of
from karec.errors import KarecError

RECORDED = {"events": 1, "refused": {}, "waiting": None}
FEED = {"user_id": 7, "scene": "home", "items": []}
FOR_NOW = (503, {"retry-after": "0"}, {"title": "Service Unavailable", "detail": "no room", "status": 503})
PROBLEM = {
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "at most 1000",
    "field": "requests[3].k",
}


def test_problem_details_become_an_exception(service, call):
    service.answer((422, {"content-type": "application/problem+json"}, PROBLEM))
    with pytest.raises(
        Problem,
        match=r"^422 Unprocessable Content: requests\[3\]\.k: at most "
        r"1000$",
    ) as caught:
        call("recommend", 7, url=service.url)
    told = caught.value
    assert (told.status, told.title, told.detail, told.field, told.retry_after) == (
        422,
        "Unprocessable Content",
        "at most 1000",
        "requests[3].k",
        None,
    )
    assert isinstance(told, KarecError) and len(service.asked) == 1


def test_what_a_proxy_answers_is_a_problem_too(service, call):
    service.answer((502, {}, b"<h1>Bad\nGateway</h1>"))
    with pytest.raises(Problem, match="502 Bad Gateway: <h1>Bad Gateway</h1>"):
        call("status", url=service.url)


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"user_id": 1}', b"\xff"])
def test_an_answer_of_something_else_is_said_to_be_one(service, call, body):
    service.answer(good(body))
    with pytest.raises(Unreachable, match="answered what no karec service does"):
        call("recommend", 7, url=service.url)


def test_a_refusal_for_now_is_tried_again(service, call):
    service.answer(FOR_NOW, FOR_NOW, good(FEED))
    assert call("recommend", 7, url=service.url).user == 7
    assert len(service.asked) == 3


def test_a_broken_connection_is_tried_again(service, call):
    service.answer(BREAK, good(FEED))
    assert call("recommend", 7, url=service.url).user == 7
    assert len(service.asked) == 2


@pytest.mark.parametrize("method", ["record", "works"])
def test_events_that_are_sent_again_are_the_same_events(service, call, method):
    """The same ids and moments: the service counts them once, whether or not it has taken the first try."""
    service.answer(BREAK, FOR_NOW, good(RECORDED))
    call(method, [{"kind": "block", "work": 1}, {"kind": "block", "work": 2}], url=service.url)
    first, *later = [asked.body for asked in service.asked]
    assert len(later) == 2 and set(later) == {first}


def test_tries_have_an_end(service, call):
    service.answer(FOR_NOW)
    with pytest.raises(Problem, match="503 Service Unavailable: no room") as caught:
        call("recommend", 7, url=service.url, client={"retries": 2})
    assert len(service.asked) == 3 and caught.value.retry_after == 0


def test_no_retry_begins_after_the_timeout(service, call):
    service.answer((503, {"retry-after": "60"}, {"title": "Service Unavailable"}))
    with pytest.raises(Problem) as caught:
        call("recommend", 7, url=service.url, client={"timeout": 5.0})
    assert len(service.asked) == 1 and caught.value.retry_after == 60


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_of_which_nothing_is_known_stands(service, call, status):
    """Without Retry-After nobody says that it would be another time."""
    service.answer((status, {}, {"title": "A fault"}), good(FEED))
    with pytest.raises(Problem, match="A fault"):
        call("recommend", 7, url=service.url)
    assert len(service.asked) == 1


def test_nobody_there_is_unreachable(call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"POST {url}/v1/recommend: "):
            call("recommend", 7, url=url, client={"retries": 1})
        with pytest.raises(Unreachable):
            call("ready", url=url, client={"retries": 0})


def test_silence_is_unreachable(call):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no answer in time"):
            call("recommend", 7, url=url, client={"timeout": 0.05})


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
        ("-1", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(told, seconds):
    assert seconds_of(told) == seconds


@pytest.mark.parametrize("url", [None, "", "127.0.0.1:8000", "ftp://there", "http://", "http://[::1"])
def test_an_address_is_wanted(url, monkeypatch):
    monkeypatch.delenv("KAREC_URL", raising=False)
    with pytest.raises(ValueError, match="address"):
        Client(url)


def test_address_and_token_come_from_the_environment(service, call, monkeypatch):
    monkeypatch.setenv("KAREC_URL", service.url)
    monkeypatch.setenv("KAREC_TOKEN", "secret-1")
    monkeypatch.setenv("KAREC_EVENTS_TOKEN", "secret-2")
    service.answer(good(FEED), good(RECORDED), good(RECORDED), good(FEED))
    call("recommend", 7)
    call("record", [])
    call("works", [], client={"works_token": "secret-3"})
    call("recommend", 7, client={"token": "secret-4"})
    assert [asked.headers["authorization"] for asked in service.asked] == [
        "Bearer secret-1",
        "Bearer secret-2",
        "Bearer secret-3",
        "Bearer secret-4",
    ]


def test_without_a_token_none_is_sent(service, call):
    service.answer(good(FEED))
    call("recommend", 7, url=service.url)
    assert "authorization" not in service.asked[0].headers


def test_a_token_is_taken_as_a_file_holds_it_and_told_in_no_message(service, call):
    service.answer(good(FEED))
    call("recommend", 7, url=service.url, client={"token": "secret-1\n"})
    assert service.asked[0].headers["authorization"] == "Bearer secret-1"
    for token in ("secret\nsecret", "secr\u00e9t"):
        with pytest.raises(ValueError, match="a token is one line") as caught:
            Client(service.url, token=token)
        assert "secr" not in str(caught.value)


def test_no_message_holds_the_password_of_an_address():
    client = Client("http://user:secret-1@localhost:1", retries=0)
    with client, pytest.raises(Unreachable) as caught:
        client.recommend(7)
    assert "secret-1" not in f"{client!r} {caught.value}"


def test_no_text_of_a_client_holds_its_token(service, call):
    service.answer((401, {}, {"title": "Unauthorized"}))
    client = Client(service.url, token="secret-1")
    with client, pytest.raises(Problem) as caught:
        client.recommend(7)
    assert "secret-1" not in f"{client!r} {client._connection!r} {caught.value!r}"
