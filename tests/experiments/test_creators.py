"""Experiments by creator: the arm of an item is that of its creator, on every page and in a report."""

import numpy as np
import pytest
from mixed_scene import mixed_config

import karec
from karec.config.arms import load_experiments
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.experiments.assignment import choose_arm, unit_bucket
from karec.experiments.creators import CreatorAssignment
from karec.experiments.settings import read_experiments
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request

EXPERIMENT = """
[layers.creators]
salt = "creators-2026"
unit = "creator"
paths = [
    "scenes.home.rank", "scenes.home.recall", "scenes.home.limits", "scenes.home.prerank",
    "scenes.home.consumed",
]

[experiments.likes]
layer = "creators"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
coverage = 0.8
arms.control.weight = 0.5
arms.likes.weight = 0.5
arms.likes.patches = { "scenes.home.rank.fusion.weights" = { like = 5.0 } }
"""
PATCH = '"scenes.home.rank.fusion.weights" = { like = 5.0 }'
ELSEWHERE = "the patches change another part of the scene"
RANK_LOG = '\n[[scenes.home.side_effects]]\nuse = "rank_log"\nfolder = "log"\n'
ALL = {"coverage = 0.8": "coverage = 1.0", "control.weight = 0.5": "control.weight = 0.0"}


def open_with(write_experiments, replacements=None, more=""):
    return karec.open(write_experiments(replacements, EXPERIMENT, more))


def expected_arms(creators, coverage=0.8):
    arms = ("control", "likes", "")
    return [
        arms[choose_arm(unit_bucket("creators-2026.likes.1", str(creator)), (0.5, 0.5), coverage)]
        for creator in creators
    ]


def order(page):
    return [item.item_id for item in page]


def test_assignment_is_that_of_the_text_of_the_creators_id(write_experiments):
    write = {"coverage = 0.8": 'coverage = 0.8\nholdout = 0.2\ndebug = { "7" = "likes", "x" = "likes" }'}
    path = write_experiments(write, EXPERIMENT).with_name("experiments.toml")
    assignment = CreatorAssignment.from_settings(read_experiments(path), "likes")
    creators = np.arange(500)
    arms = assignment.arms(creators)
    is_held = np.array([unit_bucket("creators-2026.holdout", str(creator)) < 2_000 for creator in creators])
    expected = np.where(is_held, "holdout", expected_arms(creators))
    expected[7] = ""
    assert arms.tolist() == expected.tolist() and 0.1 < is_held.mean() < 0.3
    assert assignment.arms(creators, with_debug=True)[7] == "likes"
    assert assignment.arms(np.array([-1, -7])).tolist() == ["", ""]


def test_page_has_the_merged_order_and_the_experiment_as_by_creator(write_experiments):
    with open_with(write_experiments) as cascade:
        snapshot = cascade.bundle.snapshot
        page = cascade.run(Request(1, 20, request_id="r"))
        assert page.arms == {"likes": "by_creator"} and page.degraded == ()
        works = snapshot.works
        arms = expected_arms(works.columns["creator_id"].tolist())
        (trace,) = (step for step in page.trace.steps if step.step == "creator_arms")
        scored = page.scored["rank"].ids
        n_likes = sum(arms[row] == "likes" for row in works.lookup(scored))
        assert trace.notes["n_items"] == [len(scored) - n_likes, n_likes] and 0 < n_likes < len(scored)
        control = cascade.run(Request(1, 20, request_id="r", arms={}))
        assert page.candidates.scores.tolist() == control.candidates.scores.tolist()
        assert order(page) != order(control)


def test_all_creators_in_an_arm_give_the_page_of_a_scene_with_its_patches(write_experiments):
    replacements = ALL | {"likes.weight = 0.5": "likes.weight = 1.0"}
    with open_with(write_experiments, replacements) as cascade:
        pages = [order(cascade.run(Request(user, 20, request_id="r"))) for user in range(1, 8)]
    path = write_experiments(text=EXPERIMENT)
    path.write_text(path.read_text().replace("click = 1.0, like = 2.0", "like = 5.0"))
    with karec.open(path) as patched:
        expected = [order(patched.run(Request(user, 20, arms={}))) for user in range(1, 8)]
    assert pages == expected


def test_page_has_arms_of_creators_unless_the_caller_omits_them(write_experiments):
    with open_with(write_experiments) as cascade:
        assert cascade.run(Request(0)).arms == {"likes": "by_creator"}
        assert cascade.run(Request(1, arms={})).arms == {}
        assert cascade.run(Request(1, arms={"likes": "by_creator"})).arms == {"likes": "by_creator"}
        refused = cascade.run(Request(1, arms={"likes": "likes"}))
        assert refused.degraded == ("request.experiments: an unknown arm of the caller",)


def test_items_of_the_caller_have_the_arms_of_their_creators(write_experiments):
    with open_with(write_experiments) as cascade:
        items = tuple(cascade.bundle.snapshot.works.ids.tolist())
        page = cascade.run(Request(1, 20, item_ids=items, request_id="r"))
        assert page.arms == {"likes": "by_creator"}
        assert order(page) != order(cascade.run(Request(1, 20, item_ids=items, arms={})))


def test_report_recomputes_the_arms_of_logged_items(write_experiments, tmp_path):
    with open_with(write_experiments, more=RANK_LOG) as cascade:
        cascade.run(Request(1, 20, request_id="r"))
        works = cascade.bundle.snapshot.works
    log = read_rank_log(tmp_path / "log", ())
    assert {*log.arms} == {"likes=by_creator"} and (log.page_position >= 0).sum() == 20
    assignment = CreatorAssignment.from_settings(read_experiments(tmp_path / "experiments.toml"), "likes")
    creators = works.columns["creator_id"][works.lookup(log.item_id)]
    assert assignment.arms(creators).tolist() == expected_arms(creators.tolist())


def test_arm_whose_model_is_missing_gets_control_and_is_named(write_experiments):
    tone = '"scenes.home.rank.tone" = { use = "tone_score", column = "tone", weight = 1.0, before = "top_k" }'
    with open_with(write_experiments, {PATCH: tone}) as cascade:
        page = cascade.run(Request(1, 20))
        assert page.degraded == ("request.experiments: likes.likes",)
        assert order(page) == order(cascade.run(Request(1, 20, arms={})))


def test_interleaved_teams_both_have_the_arms_of_creators(write_experiments):
    text = (
        EXPERIMENT.replace('"scenes.home.recall", ', "")
        + """
[layers.recall]
salt = "recall"
paths = ["scenes.home.recall"]

[experiments.popular]
layer = "recall"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
interleave = true
arms.control.weight = 0.5
arms.few = { weight = 0.5, patches = { "scenes.home.recall.popular.quota" = 3 } }
"""
    )
    with karec.open(write_experiments(text=text)) as cascade:
        page = cascade.run(Request(1, 8))
        assert page.arms == {"likes": "by_creator", "popular": "interleaved"}
        assert [step.step for step in page.trace.steps].count("creator_arms") == 2 and page.teams


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ('"scenes.home.recall.popular.quota" = 3', ELSEWHERE),
        ('"scenes.home.limits.scored" = 20', ELSEWHERE),
        ('"scenes.home.prerank.inner_product.k" = 20', ELSEWHERE),
        (
            '"scenes.home.rank.cut" = { use = "top_k", k = 30, before = "top_k" }',
            ELSEWHERE,
        ),
        ('"scenes.home.consumed" = ["likes"]', ELSEWHERE),
        (
            '"scenes.home.rank.tone" = { use = "tone", column = "tone", at_least = 0.5, before = "fusion" }',
            "a filter is, or follows, a patched step",
        ),
    ],
)
def test_patch_outside_the_scorers_of_the_last_stage_is_refused(write_experiments, patch, message):
    with pytest.raises(ConfigError, match=rf"{message}: creators share all but .* of the stage 'rank'"):
        load_experiments(Config.read(write_experiments({PATCH: patch}, EXPERIMENT)))


def test_mixed_page_has_the_arms_of_the_creators_of_its_works(tmp_path):
    path = mixed_config(tmp_path)
    text = EXPERIMENT.replace("scenes.home", "scenes.feed").replace("fusion.weights", "blend.share")
    (tmp_path / "experiments.toml").write_text(text.replace("{ like = 5.0 }", "0.9"))
    path.write_text('experiments = "experiments.toml"\n' + path.read_text())
    with karec.open(path, scene="feed") as feed:
        page = feed.run(Request(1, 5, "feed", request_id="r"))
        assert page.arms == {"likes": "by_creator"} and len(page) == 5
