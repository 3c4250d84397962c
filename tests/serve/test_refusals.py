"""Refused requests get a status 4xx and the wrong field; the next request is served."""

import json

import pytest
from msgspec import ValidationError, convert

from karec.serve.messages import PageRequest

LONG_ID = 10**30
IMPRESSION = {"event": "impression", "item_id": 100, "labels": ["like"]}
FUTURE_MS = 2_500_000_000_000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 1.5}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": [1]}, "user_id"),
        ({"user_id": "seven"}, "user_id"),
        ({"user_id": LONG_ID}, "user_id"),
        ({"user_id": 1, "k": 0}, "k"),
        ({"user_id": 1, "k": -3}, "k"),
        ({"user_id": 1, "k": "10"}, "k"),
        ({"user_id": 1, "k": 501}, "k"),
        ({"user_id": 1, "k": LONG_ID}, "k"),
        ({"user_id": 1, "scene": "hmoe"}, "scene"),
        ({"user_id": 1, "scene": 3}, "scene"),
        ({"user_id": 1, "shown": [1, "two"]}, "shown[1]"),
        ({"user_id": 1, "shown": [1, LONG_ID]}, "shown[1]"),
        ({"user_id": 1, "shown": list(range(10_001))}, "shown"),
        ({"user_id": 1, "time_ms": -1}, "time_ms"),
        ({"user_id": 1, "time_ms": 10**18}, "time_ms"),
        ({"user_id": 1, "deadline_ms": 0}, "deadline_ms"),
        ({"user_id": 1, "deadline_ms": -5.0}, "deadline_ms"),
        ({"user_id": 1, "request_id": "x" * 257}, "request_id"),
        ({"user_id": 1, "explain": "yes"}, "explain"),
        ({"user_id": 1, "context": {"hour": [1]}}, "context[...]"),
        ({"user_id": 1, "context": {"x" * 65: 1}}, "context"),
        ({"user_id": 1, "usr": 2}, "usr"),
        ({"user_id": 1, "where": {"column": "song_idd", "equal": 1}}, "where"),
        ({"user_id": 1, "where": {"column": "song_id", "equal": "pop"}}, "where"),
        ({"user_id": 1, "where": {"column": "song_id", "equal": [1]}}, "where.equal"),
        ({"user_id": 1, "where": {"any": [{"column": "song_id", "equal": 1}] * 33}}, "where"),
        ({"user_id": 1, "events": [{**IMPRESSION, "time_ms": FUTURE_MS}]}, "events"),
        ({"user_id": 1, "events": [{**IMPRESSION, "labels": ["lik"]}]}, "events"),
        ({"user_id": 1, "after": "A" * 4097}, "after"),
    ],
)
def test_wrong_field_is_named(service, fields, field):
    answer = service.post("/v1/recommend", fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    batch = service.post("/v1/recommend", {"requests": [{"user_id": 1}, fields]})
    assert (batch.status_code, batch.json()["field"]) == (422, f"requests[1].{field}"), batch.text


def test_id_of_more_than_256_characters_is_refused():
    assert convert({"user_id": "x" * 256}, PageRequest).user_id == "x" * 256
    for fields in ({"user_id": "x" * 257}, {"user_id": 1, "shown": ["x" * 257]}):
        with pytest.raises(ValidationError, match="length <= 256"):
            convert(fields, PageRequest)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"user_id": 1} {"user_id": 2}', 400, None),
        (b'{"user_id": NaN}', 400, None),
        (b'{"user_id": 1, "context": {"hour": -Infinity}}', 400, None),
        (b'{"user_id": 1, "deadline_ms": 1e999}', 422, "deadline_ms"),
        (b'{"user_id": "\xff"}', 400, None),
        (b'{"user_id": "\\ud800"}', 400, None),
        (b"[" * 100_000, 422, "body"),
        (b'{"user_id": ' + b"[" * 100_000, 400, None),
        (b'{"user_id": ' + b"9" * 5000 + b"}", 422, "user_id"),
        (b'[{"user_id": 1}]', 422, "body"),
        (b"null", 422, "body"),
        (b'{"requests": []}', 422, "requests"),
        (b'{"requests": {}}', 422, "requests"),
        (json.dumps({"requests": [{"user_id": 1}] * 65}).encode(), 422, "requests"),
        (b'{"user_id": 1, "requests": [{"user_id": 1}]}', 422, "user_id"),
    ],
    ids=repr,
)
def test_body_of_another_type_is_refused(service, body, status, field):
    answer = service.client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert len(service.ask(1)["items"]) == 10


@pytest.mark.parametrize(
    "restriction",
    [
        {"where": {"column": "upload_ms", "less": -1}},
        {"where": {"all": [{"column": "song_id", "equal": 1}, {"not": {"column": "song_id", "equal": 1}}]}},
        {"where": {"column": "upload_ms", "between": [5, 1]}},
        {"only_ids": []},
        {"only_ids": [10**15]},
    ],
)
def test_page_is_empty_with_a_reason_if_no_item_satisfies_the_restriction(service, restriction):
    page = service.ask(1, **restriction)
    assert page["items"] == [] and "recall.where dropped" in page["shortfall"]


def test_request_past_its_deadline_is_refused_and_counted(service):
    answer = service.post("/v1/recommend", {"user_id": 1, "deadline_ms": 1e-6})
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert "deadline passed" in answer.json()["detail"]
    line = 'karec_refusals_total{reason="deadline passed"}'
    service.wait_until(lambda: line in service.client.get("/metrics").text)


def test_repeated_key_has_its_last_value(service):
    body = b'{"user_id": "a", "user_id": 1, "k": 3}'
    answer = service.client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200 and answer.json()["user_id"] == 1


def test_unknown_path_method_and_media_type_are_refused(service):
    assert service.client.get("/v1/nothing").status_code == 404
    answer = service.client.get("/v1/recommend")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert {*service.client.put("/v1/try").headers["allow"].split(", ")} == {"GET", "HEAD", "POST"}
    answer = service.client.post("/v1/recommend", content=b'{"user_id": 1}')
    assert answer.status_code == 415 and "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("text", ["seven", "1.5", str(LONG_ID), "1_0", "+1", "%201", "%D9%A3", "%ff"])
def test_path_with_an_invalid_id_is_refused(service, text):
    for what in ("user", "item"):
        answer = service.client.get(f"/v1/{what}s/{text}")
        assert (answer.status_code, answer.json()["field"]) == (422, f"{what}_id")


def test_unknown_item_is_not_found(service):
    assert service.client.get("/v1/items/123456789").status_code == 404
    assert service.client.get("/v1/users/123456789").json()["is_known"] is False
    assert service.client.get("/v1/users/1", params={"scene": "hmoe"}).json()["field"] == "scene"


@pytest.mark.parametrize("path", ["events", "items"])
def test_invalid_rows_are_counted_by_reason(service, path):
    rows = [
        1,
        None,
        [],
        {},
        {"event": 3},
        {"event": "dance"},
        {"event": "follow", "user_id": "x", "creator_id": 1},
    ]
    answer = service.post(f"/v1/{path}", {path: rows})
    assert answer.status_code == 200 and answer.json()["events"] == 0
    assert sum(answer.json()["refused"].values()) == len(rows)
    assert service.post(f"/v1/{path}", {path: [{}] * 1001}).json()["field"] == path
    assert service.post(f"/v1/{path}", {}).json()["field"] == path
    assert service.post(f"/v1/{path}", {path: {}}).json()["field"] == path
