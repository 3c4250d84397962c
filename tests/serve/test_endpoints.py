"""What each endpoint answers, of a service that runs."""

import uuid

import pytest

USER, NEW, CREATOR = 1, 9001, 4
NOBODY = 987_654_321


def test_a_request_is_answered_with_works_scores_and_what_it_was_made_with(service, snapshot):
    answer = service.ask(USER, k=5, request_id="r-1")
    assert (answer["request_id"], answer["user"], answer["scene"]) == ("r-1", USER, "home")
    assert [item["position"] for item in answer["items"]] == [0, 1, 2, 3, 4]
    bundles = {*snapshot.works.ids.tolist()}
    # others upload beside this
    assert all(item["id"] in bundles or item["id"] >= NEW for item in answer["items"])
    assert all(item["recalled_by"] for item in answer["items"])
    assert answer["degraded"] == [] and not answer["cold_start"] and answer["short"] is None
    assert answer["versions"]["bundle"] == "v0000000001" and answer["ms"] > 0
    assert "trace" not in answer and "why" not in answer["items"][0]


def test_a_user_whom_nobody_knows_is_a_cold_start(service):
    answer = service.ask(NOBODY)
    assert answer["cold_start"] and len(answer["items"]) == 10


def test_a_request_names_its_scene_and_what_the_session_has_seen(service):
    first = [item["id"] for item in service.ask(USER)["items"]]
    again = service.ask(USER, shown=first, scene="city")
    assert again["scene"] == "city" and not {item["id"] for item in again["items"]} & {*first}


def test_an_explained_answer_has_every_step_and_a_reason_for_each_work(service):
    answer = service.ask(USER, explain=True)
    assert [step["stage"] for step in answer["trace"]][-1] == "rank"
    assert all(item["why"].startswith("found by ") for item in answer["items"])


def test_a_batch_is_answered_in_its_order(service):
    asked = [{"user": user, "k": k} for user, k in ((1, 3), (NOBODY, 4), (2, 5))]
    answers = service.post("/v1/recommend", {"requests": asked}).json()["answers"]
    assert [(each["user"], len(each["items"])) for each in answers] == [(1, 3), (NOBODY, 4), (2, 5)]


def test_what_is_told_is_in_the_next_request_of_every_worker(service, snapshot):
    now = snapshot.time_ms + 3_600_000
    row = {
        "kind": "upload",
        "work": NEW,
        "creator": CREATOR,
        "columns": {"song_id": 3},
        "id": str(uuid.uuid4()),
    }
    told = service.post("/v1/works", {"works": [row, {"kind": "exposure", "user": 1, "work": 2}, 7]}).json()
    assert told == {
        "events": 1,
        "refused": {"a row is no table": 1, "exposure goes to /v1/events": 1},
        "waiting": None,
    }
    assert service.client.get(f"/v1/works/{NEW}").json()["columns"]["song_id"] == 3
    service.until(lambda: NEW in [item["id"] for item in service.ask(USER, k=90, time_ms=now)["items"]])
    shown = {"kind": "exposure", "user": USER, "work": NEW, "labels": ["click"], "id": str(uuid.uuid4())}
    assert service.post("/v1/events", {"events": [shown]}).json()["events"] == 1
    service.until(lambda: NEW in service.client.get(f"/v1/users/{USER}").json()["lists"]["history"]["newest"])
    columns = service.client.get(f"/v1/users/{USER}").json()["columns"]
    assert columns["count_like"] >= 1 and not [name for name in columns if name.startswith("count_count")]
    told = service.post("/v1/works", {"works": [{"kind": "block", "work": NEW}]}).json()
    assert told["events"] == 1
    service.until(lambda: service.client.get(f"/v1/works/{NEW}").json()["blocked"])


def test_without_an_event_log_events_and_works_say_what_to_add(of_texts):
    for path in ("events", "works"):
        answer = of_texts.post(f"/v1/{path}", {path: []})
        assert answer.status_code == 409 and "[live]" in answer.json()["detail"]


def test_text_ids_are_kept_unchanged(of_texts):
    answer = of_texts.ask("u1", shown=["w100"])
    assert answer["user"] == "u1" and not answer["cold_start"]
    assert all(item["id"].startswith("w") for item in answer["items"])
    assert of_texts.ask("nobody")["cold_start"]
    known = of_texts.client.get("/v1/users/u1").json()
    assert known["known"] and all(each.startswith("w") for each in known["lists"]["history"]["newest"])
    assert of_texts.client.get("/v1/works/w100").json()["model_version"] == 1


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"user": 7}, "user"),
        ({"user": "u1", "shown": ["w100", 8]}, "shown[1]"),
        ({"user": ""}, "user"),
    ],
)
def test_ids_of_another_kind_are_refused_by_field(of_texts, fields, where):
    answer = of_texts.post("/v1/recommend", fields)
    assert (answer.status_code, answer.json()["field"]) == (422, where), answer.text


def test_the_service_says_how_it_is(service):
    assert service.client.get("/healthz").status_code == service.client.get("/readyz").status_code == 200
    assert service.client.get("/version").json()["serves"]["home"]["bundle"] == "v0000000001"
    assert service.client.get("/metrics").headers["content-type"].startswith("text/plain")
    told = service.client.get("/v1/status").json()
    assert [each["state"] for each in told["workers"]] == ["ready", "ready"]
    assert [step["name"] for step in told["scenes"]["home"]["steps"]][:2] == ["user_features", "user_tower"]


def test_every_endpoint_is_in_the_description_and_the_page_of_it_loads_nothing_from_elsewhere(service):
    described = service.client.get("/openapi.json").json()
    for path in (
        "/v1/recommend",
        "/v1/events",
        "/v1/works",
        "/v1/users/{id}",
        "/v1/works/{id}",
        "/readyz",
        "/metrics",
    ):
        assert path in described["paths"]
    assert described["components"]["schemas"]["Asked"]["properties"]["k"]["minimum"] == 1
    page = service.client.get("/docs").text
    assert all(path.replace("{", "{") in page for path in described["paths"])
    assert "http://" not in page and "https://" not in page and "<script" not in page
