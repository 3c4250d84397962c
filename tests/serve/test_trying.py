"""The same request with other settings of its scene's steps."""

import pytest
from live_bundle import live_config
from running_service import RunningService

USER = 1


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("trying"))
    steps = '{{ use = "top_k" }}'.replace("{{", "{").replace("}}", "}")
    more = '{ use = "top_k", k = 40 }, { use = "freshness", weight = 5.0, half_life_hours = 24 }, { use = "dpp" }'
    text = path.read_text()
    assert steps in text
    path.write_text(text.replace(steps, more))
    with RunningService(path) as running:
        yield running


def ids(answer):
    return [item["id"] for item in answer["items"]]


def test_diversity_and_steps_change_the_feed_as_written_in_the_file(varied):
    served = ids(varied.ask(USER))
    plain = varied.ask(USER, **{"try": {"without": ["rank.freshness", "rank.dpp"]}}, explain=True)
    assert [step["step"] for step in plain["trace"] if step["stage"] == "rank"] == ["ranker", "fusion", "top_k", "dpp"]
    scores = [item["score"] for item in plain["items"]]
    assert scores == sorted(scores, reverse=True) and ids(plain) != served
    none = varied.ask(USER, **{"try": {"diversity": 0, "without": ["rank.freshness"]}})
    assert ids(none) == ids(plain)
    much = varied.ask(USER, **{"try": {"diversity": 1.0, "without": ["rank.freshness"]}})
    assert ids(much) != ids(none)
    assert ids(varied.ask(USER)) == served  # what serves is as it was
    steps = varied.client.get("/v1/status").json()["scenes"]["city"]["steps"]
    assert [step["diversity"] for step in steps if "diversity" in step] == [0.5]


@pytest.mark.parametrize(
    ("tried", "where", "told"),
    [
        ({"without": ["rank.dp"]}, "try.without[0]", "did you mean 'rank.dpp'"),
        ({"without": ["rank.dpp", "rank.ranker"]}, "try", "logits"),
        ({"diversity": -1}, "try.diversity", ">= 0"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(varied, tried, where, told):
    answer = varied.post("/v1/recommend", {"user": USER, "try": tried})
    assert (answer.status_code, answer.json()["field"]) == (422, where), answer.text
    assert told in answer.json()["detail"]


def test_a_scene_without_diversity_says_so(service):
    answer = service.post("/v1/recommend", {"user": USER, "try": {"diversity": 0.3}})
    assert answer.status_code == 422 and answer.json()["field"] == "try.diversity"
    moment = {"time_ms": 1_700_400_000_000}
    assert ids(service.ask(USER, **moment, **{"try": {}})) == ids(service.ask(USER, **moment))
