"""POST /v1/try: what it answers, what it refuses, with the field that is wrong."""

import pytest

from karec.config.serve_settings import ServeSettings

NOBODY = 987_654_321


def test_a_try_answers_a_feed_and_what_is_known_of_its_works(service, snapshot):
    told = service.post("/v1/try", {"user_id": 1, "k": 5}).json()
    whole = service.ask(1, k=5)
    ids = [item["item_id"] for item in told["feed"]["items"]]
    assert ids == [item["item_id"] for item in whole["items"]]
    rows = snapshot.works.lookup(ids)
    assert [work["creator_id"] for work in told["works"]] == snapshot.works["creator_id"][rows].tolist()
    assert all(work["age_hours"] > 0 and work["type"] in ("audio", "video", 0, 1) for work in told["works"])
    assert told["feed"]["trace"] and all(item["reason"] for item in told["feed"]["items"])


def test_what_can_be_tried_is_told_of_each_scene(service):
    told = service.client.get("/v1/try").json()
    assert told["scene"] == "home" and list(told["scenes"]) == ["home", "city"]
    steps = {step["place"]: step["optional"] for step in told["scenes"]["home"]["steps"]}
    assert steps["prerank.not_shown"] and not steps["prerank.index_rows"]
    assert told["scenes"]["home"]["diversity"] is None and told["scenes"]["home"]["users"][0]["history"] > 0


def test_a_step_is_left_out(service):
    told = service.post("/v1/try", {"user_id": NOBODY, "without": ["prerank.not_shown"]}).json()
    assert told["feed"]["is_cold_start"] and "not_shown" not in {
        step["step"] for step in told["feed"]["trace"]
    }


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, "user_id"),
        ({"user_id": "seven"}, "user_id"),
        ({"user_id": 10**30}, "user_id"),
        ({"user_id": 1, "k": 0}, "k"),
        ({"user_id": 1, "k": 501}, "k"),
        ({"user_id": 1, "scene": "hmoe"}, "scene"),
        ({"user_id": 1, "diversity": 2}, "diversity"),
        ({"user_id": 1, "diversity": "much"}, "diversity"),
        ({"user_id": 1, "diversity": 0.5}, "diversity"),  # no step of the scene has one
        ({"user_id": 1, "without": "prerank"}, "without"),
        ({"user_id": 1, "without": ["prerank.not_shwon"]}, "without"),
        ({"user_id": 1, "without": ["prerank.index_rows"]}, "without"),
        ({"user_id": 1, "without": ["prerank.not_shown"] * 65}, "without"),
        ({"user_id": 1, "explain": True}, "explain"),
    ],
)
def test_a_wrong_field_is_named(service, fields, where):
    answer = service.post("/v1/try", fields)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == where


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({}, True),
        ({"page": False}, False),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),  # told --insecure
        ({"host": "0.0.0.0", "page": True}, True),
        ({"host": "0.0.0.0", "token": "env:TOKEN"}, True),
        ({"host": "0.0.0.0", "token": "env:TOKEN", "page": False}, False),
    ],
)
def test_the_page_is_on_where_nobody_else_comes_in_or_it_is_told(settings, shows):
    assert ServeSettings(**settings).shows_page is shows
