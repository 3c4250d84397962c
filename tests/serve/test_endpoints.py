"""Responses of the endpoints of a running service."""

import uuid

import pytest

USER, NEW_ITEM, CREATOR = 1, 9001, 4
UNKNOWN_USER = 987_654_321


def test_page_has_items_scores_and_versions(service, snapshot):
    page = service.ask(USER, k=5, request_id="r-1")
    assert (page["request_id"], page["user_id"], page["scene"]) == ("r-1", USER, "home")
    assert [item["position"] for item in page["items"]] == [0, 1, 2, 3, 4]
    bundle_ids = {*snapshot.works.ids.tolist()}
    # other tests upload items to the same service
    assert all(item["item_id"] in bundle_ids or item["item_id"] >= NEW_ITEM for item in page["items"])
    assert all(item["sources"] for item in page["items"])
    assert page["degraded"] == [] and not page["is_cold_start"] and page["shortfall"] is None
    assert page["versions"]["bundle"] == "v0000000001" and page["run_ms"] > 0
    assert "trace" not in page and "reason" not in page["items"][0]


def test_page_of_an_unknown_user_is_a_cold_start(service):
    page = service.ask(UNKNOWN_USER)
    assert page["is_cold_start"] and len(page["items"]) == 10


def test_page_omits_shown_items_in_any_scene(service):
    shown = [item["item_id"] for item in service.ask(USER)["items"]]
    page = service.ask(USER, shown=shown, scene="city")
    assert page["scene"] == "city" and not {item["item_id"] for item in page["items"]} & {*shown}


def test_explained_page_has_a_trace_and_a_reason_per_item(service):
    page = service.ask(USER, explain=True)
    assert [step["stage"] for step in page["trace"]][-1] == "rank"
    assert all(item["reason"].startswith("returned by ") for item in page["items"])


def test_rank_orders_given_items_and_names_dropped_ones(service, snapshot):
    """The ranker orders all given items that are in the index, like a page of the same items."""
    given = snapshot.works.ids[:40].tolist()
    body = {"user_id": USER, "item_ids": [*given, 10**15, given[0]], "scores": True, "k": 5}
    answer = service.post("/v1/rank", body).json()
    scored = [row["item_id"] for row in answer["scores"]]
    dropped = {row["item_id"]: row["by"] for row in answer["dropped"]}
    assert {*scored} | dropped.keys() == {*given, 10**15} and not {*scored} & dropped.keys()
    assert dropped[10**15] == "not in the index" and len(answer["items"]) == 5
    scores = [row["score"] for row in answer["scores"]]
    assert scores == sorted(scores, reverse=True)
    later = service.post("/v1/rank", {**body, "item_ids": scored[:2][::-1], "k": 2}).json()
    assert [row["item_id"] for row in later["scores"]] == scored[:2] and later["dropped"] == []


def test_rank_refuses_bodies_with_the_wrong_field(service):
    for fields, field in (
        ({"item_ids": []}, "item_ids"),
        ({"item_ids": ["a"]}, "item_ids[0]"),
        ({"item_ids": [2**70]}, "item_ids"),
        ({"item_ids": list(range(10_001))}, "item_ids"),
        ({"item_ids": [1], "first_stage": "recall"}, "first_stage"),
        ({}, "item_ids"),
    ):
        answer = service.post("/v1/rank", {"user_id": USER, **fields})
        assert answer.status_code == 422 and answer.json()["field"].startswith(field), answer.json()


def test_similar_items_leave_out_blocked_items(service, snapshot):
    item = snapshot.works.ids[0].item()
    answer = service.post("/v1/similar", {"item_id": item, "k": 8}).json()
    ids = [row["item_id"] for row in answer["items"]]
    assert len({*ids}) == 8 and item not in ids and answer["item_id"] == item
    block = {"event": "block", "item_id": ids[0]}
    assert service.post("/v1/items", {"items": [block]}).json()["events"] == 1
    service.wait_until(
        lambda: f'"item_id":{ids[0]},"' not in service.post("/v1/similar", {"item_id": item, "k": 8}).text
    )
    service.post("/v1/items", {"items": [{**block, "event": "unblock"}]})


def test_similar_items_without_an_allowed_one_have_a_reason(service, snapshot):
    item = {"item_id": snapshot.works.ids[0].item(), "k": 3}
    none = service.post("/v1/similar", {**item, "where": {"column": "upload_ms", "less": -1}}).json()
    assert none["items"] == [] and none["shortfall"].startswith("0 of 3 items: ")
    assert service.post("/v1/similar", item).json()["shortfall"] is None


def test_similar_items_refuse_an_unknown_item_and_a_wrong_condition(service):
    for body, field in (
        ({"item_id": 10**15}, "item_id"),
        ({"item_id": "a"}, "item_id"),
        ({"item_id": 2**70}, "item_id"),
        ({"item_id": 1, "where": {"column": "colour", "equal": 1}}, "where"),
        ({"item_id": 1, "k": 10**6}, "k"),
        ({}, "item_id"),
    ):
        answer = service.post("/v1/similar", body)
        assert answer.status_code == 422 and answer.json()["field"] == field, answer.text


def test_similar_items_have_text_ids(service_with_text_ids):
    ids = [item["item_id"] for item in service_with_text_ids.ask("u1", k=3)["items"]]
    answer = service_with_text_ids.post("/v1/similar", {"item_id": ids[0]}).json()
    assert len(answer["items"]) == 10 and all(isinstance(row["item_id"], str) for row in answer["items"])


def test_all_items_of_a_page_satisfy_where(service, snapshot):
    songs = dict(zip(snapshot.works.ids.tolist(), snapshot.works["song_id"].tolist(), strict=True))
    chosen = [*{*songs.values()}][:3]
    page = service.ask(
        USER, where={"all": [{"column": "song_id", "in": chosen}, {"column": "upload_ms", "at_least": 0}]}
    )
    assert page["items"] and all(songs[item["item_id"]] in chosen for item in page["items"])
    ranked = service.post(
        "/v1/rank",
        {"user_id": USER, "item_ids": [*songs][:20], "where": {"column": "song_id", "in": chosen}},
    ).json()
    assert all(songs[item["item_id"]] in chosen for item in ranked["items"])


def test_page_leaves_out_exclude_ids_and_has_only_only_ids(service):
    first = [item["item_id"] for item in service.ask(USER, k=5)["items"]]
    page = service.ask(USER, k=5, exclude_ids=first[:3])
    assert len(page["items"]) == 5 and {*first[:3]}.isdisjoint(item["item_id"] for item in page["items"])
    page = service.ask(USER, k=5, only_ids=first[:2])
    assert {item["item_id"] for item in page["items"]} == {*first[:2]} and page["shortfall"]
    for field in ("exclude_ids", "only_ids"):
        for ids, place in (([*range(100_001)], field), ([1, "a"], f"{field}[1]"), ([2**70], f"{field}[0]")):
            answer = service.post("/v1/recommend", {"user_id": USER, field: ids})
            assert answer.status_code == 422 and answer.json()["field"] == place, answer.text


def test_events_of_a_session_act_on_the_page_and_are_stored_if_asked(service, snapshot):
    user, item = 4_242_424, int(snapshot.works.ids[0])
    events = [{"event": "impression", "item_id": item, "labels": ["like"], "scene": "home"}]
    cold = service.ask(user)
    assert cold["is_cold_start"] and not service.ask(user, events=events)["is_cold_start"]
    assert service.ask(user)["is_cold_start"], "nothing is stored"
    service.ask(user, events=events, store=True)
    service.wait_until(lambda: not service.ask(user)["is_cold_start"])
    for rows, field in (([{"event": "block", "item_id": item}], "events"), ([1], "events[0]"), (7, "events")):
        answer = service.post("/v1/recommend", {"user_id": user, "events": rows})
        assert answer.status_code == 422 and answer.json()["field"] == field, answer.text


def test_events_of_a_session_need_an_online_store(service_with_text_ids):
    answer = service_with_text_ids.post(
        "/v1/recommend", {"user_id": "u1", "events": [{"event": "impression", "item_id": "w1"}]}
    )
    assert answer.status_code == 422 and "memory" in answer.json()["detail"]


def test_where_of_another_form_is_refused_with_its_place(service):
    for where, words in (
        ({"column": "songs", "equal": 1}, "song_id"),
        ({"column": "song_id", "equal": "a"}, "'a'"),
        ({"column": "song_id"}, "is_missing"),
        ({"all": [{"column": "song_id", "equals": 1}]}, "equals"),
    ):
        answer = service.post("/v1/recommend", {"user_id": USER, "where": where})
        assert answer.status_code == 422, answer.text
        assert answer.json()["field"].startswith("where") and words in answer.text


def test_rank_has_the_text_ids_of_the_request(service_with_text_ids):
    page = service_with_text_ids.ask("u1", k=3)
    ids = [item["item_id"] for item in page["items"]]
    body = {"user_id": "u1", "item_ids": [*ids, "no such item"], "scores": True}
    answer = service_with_text_ids.post("/v1/rank", body).json()
    assert "scores" in answer, answer
    assert sorted(row["item_id"] for row in answer["scores"]) == sorted(ids)
    assert [row["item_id"] for row in answer["dropped"]] == ["no such item"]


def test_batch_keeps_the_order_of_its_requests(service):
    requests = [{"user_id": user, "k": k} for user, k in ((1, 3), (UNKNOWN_USER, 4), (2, 5))]
    pages = service.post("/v1/recommend", {"requests": requests}).json()["pages"]
    assert [(page["user_id"], len(page["items"])) for page in pages] == [(1, 3), (UNKNOWN_USER, 4), (2, 5)]


def test_events_act_in_the_next_request_of_every_worker(service, snapshot):
    now = snapshot.time_ms + 3_600_000
    upload = {
        "event": "upload",
        "item_id": NEW_ITEM,
        "creator_id": CREATOR,
        "columns": {"song_id": 3},
        "event_id": str(uuid.uuid4()),
    }
    impression = {"event": "impression", "user_id": 1, "item_id": 2}
    recorded = service.post("/v1/items", {"items": [upload, impression, 7]}).json()
    assert recorded["events"] == 1 and recorded["refused"]["impression goes to /v1/events"] == 1
    assert sum(recorded["refused"].values()) == 2
    assert service.client.get(f"/v1/items/{NEW_ITEM}").json()["columns"]["song_id"] == 3
    service.wait_until(
        lambda: NEW_ITEM in [item["item_id"] for item in service.ask(USER, k=90, time_ms=now)["items"]]
    )
    click = {
        "event": "impression",
        "user_id": USER,
        "item_id": NEW_ITEM,
        "labels": ["click"],
        "event_id": str(uuid.uuid4()),
    }
    assert service.post("/v1/events", {"events": [click]}).json()["events"] == 1
    user = f"/v1/users/{USER}"
    service.wait_until(lambda: NEW_ITEM in service.client.get(user).json()["lists"]["history"]["newest"])
    item = f"/v1/items/{NEW_ITEM}"
    service.wait_until(lambda: service.client.get(item).json()["columns"]["count_click"] == 1)
    assert 0.9 < service.client.get(item).json()["columns"]["count_click_hour"] <= 1.0
    columns = service.client.get(user).json()["columns"]
    assert columns["count_like"] >= 1 and not [name for name in columns if name.startswith("count_count")]
    block = {"event": "block", "item_id": NEW_ITEM}
    assert service.post("/v1/items", {"items": [block]}).json()["events"] == 1
    service.wait_until(lambda: service.client.get(f"/v1/items/{NEW_ITEM}").json()["is_blocked"])


def test_events_without_an_online_store_are_refused_with_the_key(service_with_text_ids):
    for path in ("events", "items"):
        answer = service_with_text_ids.post(f"/v1/{path}", {path: []})
        assert answer.status_code == 409 and "[online]" in answer.json()["detail"]


def test_text_ids_are_kept_unchanged(service_with_text_ids):
    page = service_with_text_ids.ask("u1", shown=["w100"])
    assert page["user_id"] == "u1" and not page["is_cold_start"]
    assert all(item["item_id"].startswith("w") for item in page["items"])
    assert service_with_text_ids.ask("nobody")["is_cold_start"]
    user = service_with_text_ids.client.get("/v1/users/u1").json()
    assert user["is_known"] and all(item.startswith("w") for item in user["lists"]["history"]["newest"])
    assert service_with_text_ids.client.get("/v1/items/w100").json()["model_version"] == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": 7}, "user_id"),
        ({"user_id": "u1", "shown": ["w100", 8]}, "shown[1]"),
        ({"user_id": ""}, "user_id"),
    ],
)
def test_id_of_another_kind_is_refused_by_field(service_with_text_ids, fields, field):
    answer = service_with_text_ids.post("/v1/recommend", fields)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_status_endpoints_describe_the_service(service):
    health = service.client.get("/healthz").json()
    assert health["status"] == "alive" and health["online_store"] is None
    assert service.client.get("/readyz").status_code == 200
    assert service.client.get("/version").json()["scenes"]["home"]["bundle"] == "v0000000001"
    assert service.client.get("/metrics").headers["content-type"].startswith("text/plain")
    status = service.client.get("/v1/status").json()
    assert status["pid"] in service.worker_pids()
    assert [step["name"] for step in status["scenes"]["home"]][:2] == ["user_features", "user_tower"]


def test_specification_has_every_endpoint_and_the_limits_of_fields(service):
    specification = service.client.get("/openapi.json").json()
    paths = {"/v1/recommend", "/v1/events", "/v1/items", "/v1/users/{id}", "/v1/items/{id}", "/readyz"}
    assert paths <= specification["paths"].keys()
    assert specification["components"]["schemas"]["PageRequest"]["properties"]["k"]["minimum"] == 1
