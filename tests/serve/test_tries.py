"""A scene with other settings: what changes, what stays, what cannot be, and that nobody counts it."""

from dataclasses import replace

import pytest
from tried_scene import PLAIN, tried_config

import karec
from karec.serve.tries import Uncut, choices, tried_diversity, variant
from karec.steps.selectors.mmr import Mmr
from karec.steps.selectors.ssd import Ssd

USERS = 1, 2, 3, 4


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tried_config(tmp_path_factory.mktemp("tries"))


@pytest.fixture(scope="module")
def cascade(config):
    with karec.open(config) as built:
        yield built


def feeds(cascade, k=10):
    return [[item.item_id for item in cascade.run(karec.Request(user, k))] for user in USERS]


def test_a_variant_with_nothing_changed_gives_the_same_feeds(cascade):
    assert feeds(variant(cascade)) == feeds(cascade)
    assert feeds(variant(cascade, tried_diversity(cascade))) == feeds(cascade)


def test_diversity_changes_the_steps_of_the_last_stage_that_has_any(cascade):
    changed = variant(cascade, 1.0)
    assert tried_diversity(cascade) == 0.5 and tried_diversity(changed) == 1.0
    before, after = choices(cascade), choices(changed)
    assert [each.place for each, other in zip(before, after, strict=True) if each != other] == ["rerank.dpp"]
    assert feeds(changed) != feeds(cascade)


@pytest.mark.parametrize("kind", [Mmr, Ssd])
def test_diversity_of_mmr_and_ssd_is_changed_in_the_same_way(cascade, kind):
    last = cascade.stages[-1]
    own = kind(cascade.index.schema, k=15, diversity=0.3)
    steps = tuple(own if step.name == "dpp" else step for step in last.steps)
    other = replace(cascade, stages=(*cascade.stages[:-1], replace(last, steps=steps)))
    assert tried_diversity(variant(other, 0.7)) == 0.7 and own.diversity == 0.3
    assert feeds(variant(other, 1.0)) != feeds(variant(other, 0.0))


def test_without_diversity_and_rules_a_feed_is_the_best_by_score(cascade):
    plain = variant(cascade, without=PLAIN)
    for user in USERS:
        scores = [item.score for item in plain.run(karec.Request(user))]
        assert len(scores) == 10 and scores == sorted(scores, reverse=True)


def test_a_selector_that_is_left_out_still_cuts_to_as_many_works(cascade):
    whole, without = (each.run(karec.Request(1)).trace for each in (cascade, variant(cascade, without=PLAIN)))
    assert whole.stage_sizes() == without.stage_sizes()


def test_without_rules_the_order_of_diversity_stays(cascade):
    without = variant(cascade, without=["rerank.page_rules"])
    for user in USERS:
        whole, feed = (each.run(karec.Request(user, explain=True)) for each in (cascade, without))
        arranged = next(step.notes["explanation"] for step in whole.trace.steps if step.step == "page_rules")
        assert [item.item_id for item in feed] == arranged["before"]


@pytest.mark.parametrize("place", ["prerank.quota", "rerank.freshness", "rerank.dpp", "rank.top_k"])
def test_a_step_that_is_left_out_runs_no_more_and_the_others_do(cascade, place):
    ran = {step.place for step in variant(cascade, without=[place]).run(karec.Request(1)).trace.steps}
    whole = {step.place for step in cascade.run(karec.Request(1)).trace.steps}
    assert whole - ran == {place}


def test_steps_of_a_scene_have_the_rooms_that_the_page_groups_by(cascade):
    rooms = {choice.place: choice.room for choice in choices(cascade)}
    assert rooms["rerank.dpp"] == "diversify"
    assert {room for place, room in rooms.items() if place.endswith(".freshness")} <= {"ecosystem"}
    assert rooms["prerank.index_rows"] == "other"


def test_a_step_whose_results_others_need_is_not_optional_and_refused_by_name(cascade):
    needed = {each.place for each in choices(cascade) if not each.optional}
    assert needed == {"prerank.index_rows", "rank.ranker"}
    with pytest.raises(Uncut, match=r"not without rank\.ranker: .*fusion needs column\.logits"):
        variant(cascade, without=["rank.ranker"])


def test_steps_that_can_be_left_out_together_only_are_left_out_together(cascade):
    assert len(variant(cascade, without=["rank.ranker", "rank.fusion"]).run(karec.Request(1))) == 10


def test_a_step_that_is_not_there_and_a_diversity_that_nothing_has_are_refused(cascade):
    with pytest.raises(Uncut, match=r"no step 'rerank\.dp'"):
        variant(cascade, without=["rerank.dp"])
    with pytest.raises(Uncut, match="no step of the scene 'home' that is left has a diversity"):
        variant(cascade, 0.5, PLAIN)


def test_no_observer_sees_what_is_tried(config):
    cascade = karec.open(config)
    feeds(variant(cascade, 0.9, ["rerank.page_rules"]))
    cascade.run(karec.Request(1))
    assert [counts.seen for counts in cascade.close()] == [1]
