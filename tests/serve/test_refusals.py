"""What the service does not answer: 4xx with the field that is wrong, and the next request is answered as
ever."""

import json

import pytest

LONG_ID = 10**30


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, "user"),
        ({"user": None}, "user"),
        ({"user": 1.5}, "user"),
        ({"user": True}, "user"),
        ({"user": [1]}, "user"),
        ({"user": "seven"}, "user"),
        ({"user": LONG_ID}, "user"),
        ({"user": 1, "k": 0}, "k"),
        ({"user": 1, "k": -3}, "k"),
        ({"user": 1, "k": "10"}, "k"),
        ({"user": 1, "k": 501}, "k"),
        ({"user": 1, "k": LONG_ID}, "k"),
        ({"user": 1, "scene": "hmoe"}, "scene"),
        ({"user": 1, "scene": 3}, "scene"),
        ({"user": 1, "shown": [1, "two"]}, "shown[1]"),
        ({"user": 1, "shown": [1, LONG_ID]}, "shown[1]"),
        ({"user": 1, "shown": list(range(10_001))}, "shown"),
        ({"user": 1, "time_ms": -1}, "time_ms"),
        ({"user": 1, "time_ms": 10**18}, "time_ms"),
        ({"user": 1, "deadline_ms": 0}, "deadline_ms"),
        ({"user": 1, "deadline_ms": -5.0}, "deadline_ms"),
        ({"user": 1, "request_id": "x" * 257}, "request_id"),
        ({"user": 1, "explain": "yes"}, "explain"),
        ({"user": 1, "context": {"hour": [1]}}, "context[...]"),
        ({"user": 1, "context": {"x" * 65: 1}}, "context"),
        ({"user": 1, "usr": 2}, "usr"),
    ],
)
def test_a_wrong_field_is_named(service, fields, where):
    answer = service.post("/v1/recommend", fields)
    assert (answer.status_code, answer.json()["field"]) == (422, where), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    batch = service.post("/v1/recommend", {"requests": [{"user": 1}, fields]})
    assert (batch.status_code, batch.json()["field"]) == (422, f"requests[1].{where}"), batch.text


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"user": 1} {"user": 2}', 400, None),
        (b'{"user": NaN}', 422, "user"),
        (
            b'{"requests": [{"user": 1}, {"user": 1, "context": {"hour": -Infinity}}]}',
            422,
            "requests[1].context.hour",
        ),
        (b'{"user": 1, "deadline_ms": 1e999}', 422, "deadline_ms"),
        (b'{"user": "\xff"}', 400, None),
        (b'{"user": "\\ud800"}', 400, None),
        (b"[" * 100_000, 422, "body"),
        (b'{"user": ' + b"[" * 100_000, 400, None),
        (b'{"user": ' + b"9" * 5000 + b"}", 422, "user"),
        (b'[{"user": 1}]', 422, "body"),
        (b"null", 422, "body"),
        (b'{"requests": []}', 422, "requests"),
        (b'{"requests": {}}', 422, "requests"),
        (json.dumps({"requests": [{"user": 1}] * 65}).encode(), 422, "requests"),
        (b'{"user": 1, "requests": [{"user": 1}]}', 422, "user"),
    ],
    ids=repr,
)
def test_a_body_that_is_none_is_refused(service, body, status, where):
    answer = service.client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json().get("field")) == (status, where), answer.text
    assert len(service.ask(1)["items"]) == 10


def test_a_request_whose_deadline_passes_before_it_runs_is_refused_and_counted(service):
    answer = service.post("/v1/recommend", {"user": 1, "deadline_ms": 1e-6})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert "deadline passed" in answer.json()["detail"]
    line = 'karec_refusals_total{reason="deadline passed"}'
    service.until(lambda: line in service.client.get("/metrics").text)


def test_a_key_that_stands_twice_counts_as_the_last(service):
    body = b'{"user": "a", "user": 1, "k": 3}'
    answer = service.client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200 and answer.json()["user"] == 1


def test_other_paths_methods_and_kinds_of_bodies_are_refused(service):
    assert service.client.get("/v1/nothing").status_code == 404
    answer = service.client.get("/v1/recommend")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert {*service.client.put("/v1/try").headers["allow"].split(", ")} == {"GET", "HEAD", "POST"}
    answer = service.client.post("/v1/recommend", content=b'{"user": 1}')
    assert answer.status_code == 415 and "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("written", ["seven", "1.5", str(LONG_ID), "1_0", "+1", "%201", "%D9%A3", "%ff"])
def test_an_id_of_a_path_that_is_none_is_refused(service, written):
    for what in ("user", "work"):
        answer = service.client.get(f"/v1/{what}s/{written}")
        assert (answer.status_code, answer.json()["field"]) == (422, what)


def test_a_work_that_nobody_knows_is_not_found(service):
    assert service.client.get("/v1/works/123456789").status_code == 404
    assert service.client.get("/v1/users/123456789").json()["known"] is False
    assert service.client.get("/v1/users/1", params={"scene": "hmoe"}).json()["field"] == "scene"


@pytest.mark.parametrize("path", ["events", "works"])
def test_rows_that_are_none_are_told_and_the_others_count(service, path):
    rows = [1, None, [], {}, {"kind": 3}, {"kind": "dance"}, {"kind": "follow", "user": "x", "creator": 1}]
    answer = service.post(f"/v1/{path}", {path: rows})
    assert answer.status_code == 200 and answer.json()["events"] == 0
    assert sum(answer.json()["refused"].values()) == len(rows)
    assert service.post(f"/v1/{path}", {path: [{}] * 1001}).json()["field"] == path
    assert service.post(f"/v1/{path}", {}).json()["field"] == path
    assert service.post(f"/v1/{path}", {path: {}}).json()["field"] == path
