"""Pages of arms: what they share, which requests count, and what happens without an id or a model."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from mixed_scene import mixed_config
from two_experiments import EXPERIMENTS

import karec
from karec.config import load_cascade
from karec.errors import ConfigError
from karec.experiments.assignment import choose_arm, unit_bucket
from karec.logs.read import read_rank_log
from karec.pipeline.types import Request
from karec.serve import messages
from karec.serve.responses import to_response
from karec.serve.try_page import change_steps

TONE = '"scenes.home.rank.tone" = { use = "tone", column = "tone", at_least = 0.5, before = "fusion" }'
MISSING_MODEL = {
    '"scenes.home.rank.fusion"]': '"scenes.home.rank"]',
    '"scenes.home.rank.fusion.weights" = { like = 5.0 }': TONE,
}
EXPERIMENT_OF_ROOMS = """
[experiments.rooms]
layer = "recall"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
arms.few = { weight = 1.0, patches = { "scenes.live.recall.popular.quota" = 4 } }
"""
RANK_LOG = '\n[[scenes.home.side_effects]]\nuse = "rank_log"\nfolder = "log"\n'


@pytest.fixture
def cascade(write_experiments):
    with karec.open(write_experiments()) as cascade:
        yield cascade


def expected_arm(user):
    return choose_arm(unit_bucket("ranking-2026.fusion.1", str(user)), (0.5, 0.5), 0.8)


def user_in(arm):
    return next(user for user in range(1, 100) if expected_arm(user) == arm)


def test_page_has_the_arm_of_its_user(cascade):
    arms = ("control", "likes")
    for user in range(1, 40):
        arm = expected_arm(user)
        assert cascade.run(Request(user)).arms == ({} if arm < 0 else {"fusion": arms[arm]})


def test_page_of_an_arm_equals_that_of_a_scene_with_its_patches(cascade, write_experiments):
    request = Request(user_in(1), 20)
    path = write_experiments()
    path.write_text(path.read_text().replace("click = 1.0, like = 2.0", "like = 5.0"))
    with load_cascade(path, "home") as patched, load_cascade(write_experiments(), "home") as control:
        pages = [pipeline.run(request) for pipeline in (cascade, patched, control)]
    scores = [page.candidates.scores.tolist() for page in pages]
    assert scores[0] == scores[1] != scores[2]
    assert pages[0].versions["config"] == pages[1].versions["config"]


def test_arms_share_every_unpatched_step_and_all_resources(cascade):
    pipelines = cascade.experiments.pipelines
    assert {*pipelines} == {("", ""), ("likes", ""), ("", "few"), ("likes", "few")}
    control, likes, both = (pipelines[key] for key in (("", ""), ("likes", ""), ("likes", "few")))

    def steps(pipeline):
        stages = [step for stage in pipeline.stages for step in stage.steps]
        return {step.name: step for step in (*pipeline.query_hydrators, *pipeline.recall.sources, *stages)}

    def changed(pipeline):
        return {name for name, step in steps(pipeline).items() if steps(control)[name] is not step}

    assert changed(likes) == {"fusion"} and changed(both) == {"fusion", "popular", "inner_product"}
    for name in ("index", "bundle", "run_times", "masks", "exposure", "online"):
        assert getattr(both, name) is getattr(cascade, name)
    assert both.side_effects == cascade.side_effects


def test_session_keeps_its_arm_when_the_visitor_logs_in(cascade):
    for session in ("s1", "s2", "s3", "s4"):
        arms = {cascade.run(Request(user, session_id=session)).arms["popular"] for user in (0, 7, 9)}
        assert len(arms) == 1


def test_unit_without_an_id_is_in_no_arm(cascade):
    assert "popular" not in cascade.run(Request(user_in(0))).arms


def test_request_counts_only_if_it_reaches_a_patched_step_in_some_arm(cascade):
    items = tuple(cascade.bundle.snapshot.works.ids[:5].tolist())
    for user in (user_in(0), user_in(1)):
        request = Request(user, session_id="s", item_ids=items)
        assert {*cascade.run(request).arms} == {"fusion"}
        assert {*cascade.run(replace(request, first_stage="prerank")).arms} == {"fusion", "popular"}
        assert {*cascade.run(Request(user, session_id="s")).arms} == {"fusion", "popular"}


def test_request_of_a_scene_without_patches_does_not_count(write_experiments):
    with karec.open(write_experiments(), "city") as city:
        assert city.run(Request(user_in(1), scene="city")).arms == {}


def test_caller_replaces_the_assignment(cascade):
    page = cascade.run(Request(user_in(0), arms={"fusion": "likes"}))
    assert page.arms == {"fusion": "likes"} and page.degraded == ()
    assert cascade.run(Request(user_in(1), arms={})).arms == {}


def test_unknown_arm_of_the_caller_gets_control_and_is_named(cascade):
    control = cascade.run(Request(1, arms={}))
    for arms in ({"fusion": "lkes"}, {"fusoin": "likes"}):
        page = cascade.run(Request(1, arms=arms))
        assert page.degraded == ("request.experiments: an unknown arm of the caller",)
        assert page.arms == {} and page.versions == control.versions


def test_debug_unit_gets_its_arm_and_does_not_count(write_experiments):
    text = {"coverage = 0.8": 'coverage = 0.8\ndebug = { "3" = "likes" }'}
    with karec.open(write_experiments(text)) as cascade:
        page = cascade.run(Request(3))
        assert page.arms == {} and page.trace.steps[0].notes["arms"] == {"fusion": "likes"}
        assert page.versions["config"] == cascade.experiments.pipelines["likes", ""].versions["config"]


def test_holdout_gets_control_and_takes_units_of_all_arms(write_experiments):
    with karec.open(write_experiments({"coverage = 0.8": "coverage = 0.8\nholdout = 0.3"})) as cascade:
        (fusion, _), users = cascade.experiments.experiments, range(2000)
        held = [user for user in users if fusion.arm_of(str(user)) == "holdout"]
        assert 0.25 < len(held) / len(users) < 0.35
        assert {expected_arm(user) for user in held} == {-1, 0, 1}
        page = cascade.run(Request(held[0]))
        assert page.arms == {"fusion": "holdout"}
        assert page.versions["config"] == cascade.versions["config"]


@pytest.mark.parametrize("old", ["start = 2020", "end = 2090"])
def test_experiment_acts_only_from_start_to_end(write_experiments, old):
    new = {"start = 2020": "start = 2089", "end = 2090": "end = 2021"}[old]
    with karec.open(write_experiments({old: new})) as cascade:
        assert cascade.run(Request(user_in(1))).arms == {}


def test_arm_whose_model_is_missing_gets_control_and_counts(write_experiments, caplog):
    with karec.open(write_experiments(MISSING_MODEL)) as cascade:
        page = cascade.run(Request(user_in(1)))
        assert page.arms == {"fusion": "likes"} and len(page) == 10
        assert page.degraded == ("request.experiments: fusion.likes",)
        assert page.versions["config"] == cascade.versions["config"]
        assert cascade.run(Request(user_in(0))).degraded == ()
    assert "the arm fusion.likes gets control" in caplog.text


def test_rank_log_has_the_arms_in_which_a_request_counts(write_experiments, tmp_path):
    user = user_in(1)
    with karec.open(write_experiments(more=RANK_LOG)) as cascade:
        cascade.run(Request(user, session_id="s", request_id="r"))
    arms = {*read_rank_log(tmp_path / "log", ()).arms}
    assert len(arms) == 1 and arms.pop() in ("fusion=likes;popular=few", "fusion=likes;popular=control")


def test_rank_log_names_what_was_degraded_of_a_page(write_experiments, tmp_path):
    with karec.open(write_experiments(MISSING_MODEL, more=RANK_LOG)) as cascade:
        cascade.run(Request(user_in(1), session_id="s", request_id="r"))
    table = pq.read_table(tmp_path / "log")
    assert {*table["degraded"].to_pylist()} == {"request.experiments: fusion.likes"}
    assert len({*table["steps_ms"].to_pylist()}) == 1 and table["steps_ms"][0].as_py() > 0


def test_arm_without_the_logits_of_the_rank_log_gets_control(write_experiments):
    replacements = {
        '"scenes.home.rank.fusion"]': '"scenes.home.rank"]',
        '"scenes.home.rank.fusion.weights" = { like = 5.0 }': (
            '"scenes.home.rank.ranker" = false, "scenes.home.rank.fusion" = false'
        ),
    }
    with karec.open(write_experiments(replacements, more=RANK_LOG)) as cascade:
        assert "column.logits" in cascade.experiments.missing["fusion.likes"]


@pytest.mark.parametrize("arm", [0, 1])
def test_change_steps_applies_to_users_of_all_arms(cascade, arm):
    tried = change_steps(cascade, without=["rank.fusion"]).run(Request(user_in(arm)))
    assert "rank.fusion" not in {step.place for step in tried.trace.steps}


INTERLEAVE = {"coverage = 0.8": "coverage = 0.8\ninterleave = true"}


@pytest.fixture
def interleaved(write_experiments):
    with karec.open(write_experiments(INTERLEAVE, more=RANK_LOG)) as cascade:
        yield cascade


def test_page_of_both_arms_has_their_items_in_turns(interleaved):
    for user in range(1, 30):
        request = Request(user, 8, request_id=f"r{user}")
        page = interleaved.run(request)
        if expected_arm(user) < 0:
            assert page.arms == {} and page.teams == ()
            continue
        assert page.arms == {"fusion": "interleaved"} and page.degraded == ()
        lists = {
            arm: [item.item_id for item in interleaved.run(replace(request, arms={"fusion": arm}))]
            for arm in ("control", "likes")
        }
        for item in page:
            assert item.item_id == lists[item.team].pop(0)
            lists = {arm: [other for other in ids if other != item.item_id] for arm, ids in lists.items()}
        for place in range(1, 8, 2):
            assert {*page.teams[place - 1 : place + 1]} == {"control", "likes"}


def test_rank_log_has_the_team_of_each_item_of_a_page(interleaved, tmp_path):
    page = interleaved.run(Request(user_in(1), 8, request_id="r"))
    interleaved.run(Request(user_in(1), 8, request_id="s", arms={}))
    interleaved.close()
    log = read_rank_log(tmp_path / "log", ())
    teams = {item.item_id: item.team for item in page}
    rows = [row for row in range(len(log)) if log.request_id[row] == "r"]
    assert {log.item_id[row]: log.team[row] for row in rows if log.page_position[row] >= 0} == teams
    assert {log.team[row] for row in rows if log.page_position[row] < 0} == {""}
    assert {log.arms[row] for row in rows} == {"fusion=interleaved"}
    assert {*log.team[log.request_id == "s"]} == {""}


def test_http_response_has_the_team_of_each_item(interleaved):
    message = messages.PageRequest(user_id=1)
    teams = []
    for arms in (None, {}):
        page = interleaved.run(Request(user_in(1), 8, arms=arms))
        items = json.loads(messages.encode(to_response(page, message, 1.0)))["items"]
        assert [item.get("team", "") for item in items] == [item.team for item in page]
        teams.append(page.teams)
    assert teams[0] and not teams[1]


def test_items_of_the_caller_are_not_interleaved(interleaved):
    items = tuple(interleaved.bundle.snapshot.works.ids[:5].tolist())
    page = interleaved.run(Request(user_in(0), item_ids=items))
    assert page.teams == () and page.arms == {} and len(page) == 5


def test_debug_unit_holdout_and_unit_without_id_see_one_arm(write_experiments):
    text = {"coverage = 0.8": 'coverage = 0.8\ninterleave = true\nholdout = 0.3\ndebug = { "3" = "likes" }'}
    with karec.open(write_experiments(text)) as cascade:
        (fusion, _) = cascade.experiments.experiments
        held = next(user for user in range(4, 99) if fusion.arm_of(str(user)) == "holdout")
        pages = [cascade.run(Request(user)) for user in (3, held)]
        assert [page.teams for page in pages] == [(), ()]
        assert [dict(page.arms) for page in pages] == [{}, {"fusion": "holdout"}]
        assert pages[0].versions["config"] != pages[1].versions["config"] == cascade.versions["config"]
    by_session = EXPERIMENTS.replace("coverage", "interleave = true\ncoverage").replace(
        'salt = "ranking-2026"', 'salt = "ranking-2026"\nunit = "session"'
    )
    with karec.open(write_experiments(text=by_session)) as cascade:
        assert cascade.run(Request(1)).teams == ()
        assert any(cascade.run(Request(1, session_id=f"s{i}")).teams for i in range(9))


def test_interleaved_arm_whose_model_is_missing_gets_pages_of_control(write_experiments):
    with karec.open(write_experiments(MISSING_MODEL | INTERLEAVE)) as cascade:
        page = cascade.run(Request(user_in(0)))
        assert page.teams == () and page.degraded == ("request.experiments: fusion.likes",)
        assert page.arms == {"fusion": "interleaved"}


def test_teams_share_the_arms_of_other_experiments(interleaved):
    page = interleaved.run(
        Request(user_in(0), session_id="s", arms={"fusion": "interleaved", "popular": "few"})
    )
    few = [
        interleaved.experiments.pipelines[key].versions["config"] for key in (("", "few"), ("likes", "few"))
    ]
    assert page.arms["popular"] == "few" and page.versions["config"] == "+".join(few)


def test_interleaved_request_with_a_deadline_runs_both_pipelines(interleaved):
    page = interleaved.run(Request(user_in(0), 8, deadline_ms=10_000))
    assert page.degraded == () and {*page.teams} == {"control", "likes"}


def test_too_many_combinations_of_arms_are_refused(write_experiments):
    arm = 'arms.likes{} = {{ weight = 0.0078125, patches = {{ "scenes.home.rank.fusion.share" = 0.5 }} }}'
    first, last = EXPERIMENTS.index("arms.control"), EXPERIMENTS.index("[experiments.popular]")
    arms = "\n".join(arm.format(i) for i in range(128))
    path = write_experiments(text=f"{EXPERIMENTS[:first]}{arms}\n{EXPERIMENTS[last:]}")
    with pytest.raises(
        ConfigError, match="2 layers have 258 combinations in one scene, expected at most 100"
    ):
        karec.open(path)


@pytest.mark.parametrize("scene", ["live", "feed"])
def test_interleaving_in_a_scene_of_mixed_pages_is_refused(tmp_path, scene):
    path = mixed_config(tmp_path)
    layer = EXPERIMENTS[: EXPERIMENTS.index("[experiments.fusion]")]
    layer = layer.replace('"scenes.home.recall.popular"', f'"scenes.{scene}.recall.popular"')
    text = EXPERIMENT_OF_ROOMS.replace("arms.few = { weight = 1.0", "arms.few = { weight = 0.5")
    text = f"{layer}{text}interleave = true\narms.control.weight = 0.5"
    (tmp_path / "experiments.toml").write_text(text.replace("scenes.live", f"scenes.{scene}"))
    path.write_text('experiments = "experiments.toml"\n' + path.read_text())
    with pytest.raises(ConfigError, match=f"the scene '{scene}' is on mixed pages"):
        karec.open(path, scene="feed")


def test_mixed_page_counts_in_the_experiments_of_its_parts(tmp_path):
    path = mixed_config(tmp_path)
    text = EXPERIMENTS.replace('"scenes.home.recall.popular"', '"scenes.live.recall.popular"')
    (tmp_path / "experiments.toml").write_text(
        text[: text.index("[experiments.fusion]")] + EXPERIMENT_OF_ROOMS
    )
    path.write_text('experiments = "experiments.toml"\n' + path.read_text())
    with karec.open(path, scene="feed") as feed:
        page = feed.run(Request(1, 5, "feed", session_id="s"))
        assert page.arms == {"rooms": "few"} and len(page) == 5
        assert feed.run(Request(1, 5, "feed")).arms == {}
