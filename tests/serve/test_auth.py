"""Tokens of calls."""

import pytest
from live_bundle import live_config
from running_service import RunningService

TOKEN, EVENTS_TOKEN, OTHER_TOKEN = "a-token-of-the-service", "a-token-of-events-only", "an-unknown-token-here"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("auth"))
    (path.parent / "token").write_text(f"{TOKEN}\n")
    table = '[serve]\ntoken = "file:token"\nevents_token = "env:KAREC_TEST_EVENTS"\n[online]'
    path.write_text(path.read_text().replace("[online]", table))
    with RunningService(path, KAREC_TEST_EVENTS=EVENTS_TOKEN) as running:
        yield running


def status(service, path, body, token, scheme="Bearer"):
    headers = {} if token is None else {"authorization": f"{scheme} {token}"}
    answer = service.client.request("GET" if body is None else "POST", path, json=body, headers=headers)
    assert answer.status_code != 401 or answer.headers["www-authenticate"].startswith("Bearer")
    return answer.status_code


def test_call_needs_its_own_token(guarded):
    page, event, item = {"user_id": 1}, {"events": []}, {"items": []}
    nothing = (401, 401, 401)
    expected = {TOKEN: (200, 401, 200), EVENTS_TOKEN: (401, 200, 401), OTHER_TOKEN: nothing, None: nothing}
    for token, statuses in expected.items():
        calls = (("/v1/recommend", page), ("/v1/events", event), ("/v1/items", item))
        assert tuple(status(guarded, path, body, token) for path, body in calls) == statuses
    assert status(guarded, "/v1/recommend", page, TOKEN, "Basic") == 401
    assert status(guarded, "/v1/users/1", None, None) == status(guarded, "/metrics", None, None) == 401
    assert status(guarded, "/v1/status", None, TOKEN) == 200


def test_page_request_stores_no_events_if_they_have_a_token_of_their_own(guarded):
    """The token of pages must not store events."""
    event = {"event": "impression", "item_id": 999_999}
    body = {"user_id": 1, "events": [event]}
    assert status(guarded, "/v1/recommend", body, TOKEN) == 200
    assert status(guarded, "/v1/recommend", {**body, "store": True}, TOKEN) == 422


def test_open_path_needs_no_token(guarded):
    for path in ("/healthz", "/readyz", "/version", "/openapi.json"):
        assert status(guarded, path, None, None) == 200


def test_log_contains_no_token(guarded):
    assert status(guarded, "/v1/recommend", {"user_id": 1}, OTHER_TOKEN) == 401
    assert not any(token in guarded.read_log() for token in (TOKEN, EVENTS_TOKEN, OTHER_TOKEN))


def test_foreign_host_header_is_refused_without_a_token(service):
    hosts = (
        "localhost.evil.example",
        "127.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "[::1].evil",
    )
    for host in ("elsewhere.example", *hosts):
        assert service.client.get("/v1/status", headers={"host": host}).status_code == 403, host
    for host in ("localhost:1", "LOCALHOST", "127.0.0.1:8080", "127.1.2.3", "[::1]:9"):
        assert service.client.get("/v1/status", headers={"host": host}).status_code == 200, host
