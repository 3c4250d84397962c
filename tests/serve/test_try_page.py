"""A scene with other settings: what changes, what stays, what is refused, and that no side effect runs."""

from dataclasses import replace

import pytest
from tried_scene import tried_config

import karec
from karec.config.serve_settings import ServeSettings
from karec.serve.problems import ProblemError
from karec.serve.try_page import Diverse, change_steps
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.ssd import Ssd

USERS = 1, 2, 3, 4
UNKNOWN_USER = 987_654_321


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tried_config(tmp_path_factory.mktemp("try"))


@pytest.fixture(scope="module")
def cascade(config):
    with karec.open(config) as built:
        yield built


@pytest.fixture(scope="module")
def running(config):
    from running_service import RunningService

    with RunningService(config) as service:
        yield service


def pages(cascade, k=10):
    return [[item.item_id for item in cascade.run(karec.Request(user, k))] for user in USERS]


def diversities(cascade):
    return {
        f"{stage.name}.{step.name}": step.diversity
        for stage in cascade.stages
        for step in stage.steps
        if isinstance(step, Diverse)
    }


def test_change_steps_without_a_change_returns_the_same_pages(cascade):
    assert pages(change_steps(cascade)) == pages(cascade)
    assert pages(change_steps(cascade, 0.5)) == pages(cascade)


def test_diversity_changes_the_last_stage_that_has_one(cascade):
    changed = change_steps(cascade, 1.0)
    assert diversities(cascade) == {"prerank.dpp": 0.1, "rerank.dpp": 0.5}
    assert diversities(changed) == {"prerank.dpp": 0.1, "rerank.dpp": 1.0}
    assert pages(changed) != pages(cascade)


@pytest.mark.parametrize("kind", [Mmr, Ssd])
def test_diversity_of_mmr_and_ssd_is_changed(cascade, kind):
    last = cascade.stages[-1]
    own = kind(cascade.index.schema, k=15, diversity=0.3)
    steps = tuple(own if step.name == "dpp" else step for step in last.steps)
    other = replace(cascade, stages=(*cascade.stages[:-1], replace(last, steps=steps)))
    assert list(diversities(change_steps(other, 0.7)).values())[-1] == 0.7 and own.diversity == 0.3
    assert pages(change_steps(other, 1.0)) != pages(change_steps(other, 0.0))


def test_page_without_rerank_has_the_best_scores_of_the_ranker(cascade):
    plain = change_steps(cascade, without=["rerank"])
    for user in USERS:
        whole = cascade.run(karec.Request(user))
        page = plain.run(karec.Request(user))
        # the ranker's candidates are the same: rerank begins with the items that rank selected
        ranked = whole.scored["rerank"]
        scores = dict(zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True))
        assert set(page.candidates.ids.tolist()) <= scores.keys()
        result = page.candidates.scores.tolist()
        assert len(result) == 10 and result == sorted(result, reverse=True)
        assert "freshness" not in {step.step for step in page.trace.steps}


def test_selector_that_is_left_out_cuts_to_as_many_items(cascade):
    without = change_steps(cascade, without=["prerank.dpp", "rerank.dpp", "rerank.page_rules"])
    sizes = [entry.run(karec.Request(1)).trace.stage_sizes() for entry in (cascade, without)]
    assert sizes[0] == sizes[1]


def test_page_without_rules_keeps_the_order_of_diversity(cascade):
    without = change_steps(cascade, without=["rerank.page_rules"])
    for user in USERS:
        whole, page = (entry.run(karec.Request(user, explain=True)) for entry in (cascade, without))
        arranged = next(step.notes["explanation"] for step in whole.trace.steps if step.step == "page_rules")
        assert [item.item_id for item in page] == arranged["before"]


@pytest.mark.parametrize("place", ["prerank.quota", "rerank.freshness", "rerank.dpp", "rank.top_k"])
def test_step_that_is_left_out_is_the_only_one_that_does_not_run(cascade, place):
    ran = {step.place for step in change_steps(cascade, without=[place]).run(karec.Request(1)).trace.steps}
    whole = {step.place for step in cascade.run(karec.Request(1)).trace.steps}
    assert whole - ran == {place}


def test_step_that_others_need_is_left_out_only_with_them(cascade):
    with pytest.raises(ProblemError, match=r"without rank\.ranker: .*fusion needs column\.logits") as error:
        change_steps(cascade, without=["rank.ranker"])
    assert (error.value.status, error.value.field) == (422, "without")
    assert len(change_steps(cascade, without=["rank.ranker", "rank.fusion"]).run(karec.Request(1))) == 10


def test_unknown_step_and_missing_diversity_are_refused(cascade):
    with pytest.raises(ProblemError, match=r"'rerank\.dp' is not a stage or step"):
        change_steps(cascade, without=["rerank.dp"])
    with pytest.raises(ProblemError, match="none of the remaining steps has a diversity"):
        change_steps(cascade, 0.5, ["prerank.dpp", "rerank.dpp"])


def test_side_effects_do_not_run_for_a_try(config):
    cascade = karec.open(config)
    pages(change_steps(cascade, 0.9, ["rerank.page_rules"]))
    cascade.run(karec.Request(1))
    assert [counts.seen for counts in cascade.close()] == [1]


def test_get_describes_scenes_and_their_steps(running):
    content = running.client.get("/v1/try").raise_for_status().json()
    assert content["scene"] == "home" and list(content["scenes"]) == ["home"]
    steps = content["scenes"]["home"]["steps"]
    fixed = [f"{step['stage']}.{step['step']}" for step in steps if not step["can_skip"]]
    assert fixed == ["prerank.index_rows", "rank.ranker"]
    assert [step["diversity"] for step in steps if step["step"] == "dpp"] == [0.1, 0.5]
    assert len(content["scenes"]["home"]["users"]) == 5


def test_post_returns_the_page_of_recommend_with_reasons(running):
    tried = running.post("/v1/try", {"user_id": 1, "k": 5}).raise_for_status().json()
    served = running.post("/v1/recommend", {"user_id": 1, "k": 5}).raise_for_status().json()
    assert [item["item_id"] for item in tried["items"]] == [item["item_id"] for item in served["items"]]
    assert tried["trace"] and all(item["reason"] for item in tried["items"])
    tried = running.post("/v1/try", {"user_id": UNKNOWN_USER, "without": ["prerank.quota"]}).json()
    assert tried["is_cold_start"] and "quota" not in {step["step"] for step in tried["trace"]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "user_id"),
        ({"user_id": "seven"}, "user_id"),
        ({"user_id": 10**30}, "user_id"),
        ({"user_id": 1, "k": 501}, "k"),
        ({"user_id": 1, "scene": "hmoe"}, "scene"),
        ({"user_id": 1, "diversity": 2}, "diversity"),
        ({"user_id": 1, "diversity": 0.5, "without": ["rerank", "prerank.dpp"]}, "diversity"),
        ({"user_id": 1, "without": "prerank"}, "without"),
        ({"user_id": 1, "without": ["prerank.qouta"]}, "without"),
        ({"user_id": 1, "without": ["prerank.index_rows"]}, "without"),
        ({"user_id": 1, "without": ["prerank.quota"] * 65}, "without"),
        ({"user_id": 1, "stages": []}, "stages"),
    ],
)
def test_post_names_a_wrong_field(running, fields, field):
    answer = running.post("/v1/try", fields)
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({}, True),
        ({"page": False}, False),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),  # with --insecure
        ({"host": "0.0.0.0", "page": True}, True),
        ({"host": "0.0.0.0", "token": "env:TOKEN"}, True),
        ({"host": "0.0.0.0", "token": "env:TOKEN", "page": False}, False),
    ],
)
def test_page_is_on_for_this_machine_or_with_a_token(settings, shows):
    assert ServeSettings(**settings).shows_page is shows
