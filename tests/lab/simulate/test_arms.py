"""Arms files: the built-in sets build, and an arm changes its scene."""

import re

import pytest
from small_loop import RANDOM, TOWERS, arms_of

from karec.config.scenes import Config
from karec.config.templates import home_scene_text
from karec.errors import ConfigError
from karec.lab.simulate.arms import SETS, read_arms
from karec.lab.simulate.population import Sizes, make_population
from karec.lab.simulate.sessions import SCENE

WEIGHTS = {"click": 1.0, "long_view": 1.0, "like": 2.0}


@pytest.fixture(scope="module")
def population():
    return make_population(Sizes(works=600, users=60, exposures=2_000, days=1, seed=0))


@pytest.fixture
def scene_of(population, tmp_path):
    def scene(text, number=0):
        arms = arms_of(tmp_path, text)
        return arms.config_of(
            arms.arms[number], tmp_path / "karec.toml", tmp_path, population.snapshot, WEIGHTS
        ).scene(SCENE)

    return scene


@pytest.mark.parametrize("name", SETS)
def test_built_in_sets_are_valid_scenes(name, population, tmp_path):
    arms = read_arms(name)
    assert len(arms.arms) > 1
    for arm in arms.arms:
        scene = arms.config_of(arm, tmp_path / "karec.toml", tmp_path, population.snapshot, WEIGHTS).scene(
            SCENE
        )
        assert [stage["name"] for stage in scene.stages] == ["prerank", "rank", "rerank"]
        assert "not_seen" in [step["use"] for step in scene.stages[0]["steps"]]


@pytest.mark.parametrize(
    ("name", "arm_name"),
    [
        ("demo", "page policy"),
        ("fairness", "starting"),
        ("prerank", "distilled towers"),
        ("policy", "template"),
        ("headline", "template"),
        ("baselines", "template"),
        ("long", "template"),
    ],
)
def test_default_arm_plays_the_template(name, arm_name, population, tmp_path):
    arms = read_arms(name)
    (arm,) = [arm for arm in arms.arms if arm.name == arm_name]
    scene = arms.config_of(arm, tmp_path / "karec.toml", tmp_path, population.snapshot, WEIGHTS).scene(SCENE)
    path = tmp_path / "starting.toml"
    path.write_text(home_scene_text(SCENE, population.snapshot, WEIGHTS))
    template = Config.read(path).scene(SCENE)
    assert scene.stages[1:] == template.stages[1:] and scene.recall == template.recall
    *prerank, not_seen, not_own = scene.stages[0]["steps"]
    assert prerank == template.stages[0]["steps"]
    assert (not_seen["use"], not_own["use"]) == ("not_seen", "not_own")
    assert (scene.limit, scene.exposure) == (template.limit, template.exposure)


def test_only_selects_arms_of_a_file(tmp_path):
    arms = arms_of(tmp_path, TOWERS + RANDOM)
    assert [arm.name for arm in arms.only(["random"]).arms] == ["random"]
    fairness = read_arms("fairness").only(["starting"])
    assert fairness.baseline is None and fairness.pair is None
    with pytest.raises(
        ConfigError,
        match=r"--only: 'randm' is not an arm of the file \(did you mean 'random'\?\)",
    ):
        arms.only(["randm"])


def test_arm_changes_only_the_keys_it_names(scene_of):
    towers, random = scene_of(TOWERS + RANDOM), scene_of(TOWERS + RANDOM, 1)
    assert [step["use"] for step in towers.stages[0]["steps"]][-2:] == ["not_seen", "not_own"]
    assert [step["use"] for step in random.stages[0]["steps"]][-2:] == [
        "karec.lab.simulate.random_order:RandomOrder",
        "top_k",
    ]
    assert towers.stages[1:] == random.stages[1:] and towers.recall == random.recall


def test_sources_share_the_pool_as_in_the_template(scene_of):
    quota = {source["use"]: source["quota"] for source in scene_of(TOWERS).recall}
    assert quota == {"follow": 30, "profile": 240, "social": 120, "popular": 240, "fresh": 240}
    wider = TOWERS + "scene.limits.recall = 1_000\nscene.recall.popular.quota = 7\n"
    scene = scene_of(wider)
    assert scene.limit == 1_000
    quota = {source["use"]: source["quota"] for source in scene.recall}
    assert quota == {"follow": 50, "profile": 400, "social": 200, "popular": 7, "fresh": 400}


def test_settings_of_an_arm_override_the_common_ones(tmp_path):
    arms = arms_of(tmp_path, TOWERS + 'learn.distil.recipe = "hard"\nlearn.seed = 3\n')
    settings = arms.settings_of(arms.arms[0])
    assert settings["distil"] == {"list_works": 10, "lists_per_step": 4, "recipe": "hard"}
    assert settings["seed"] == 3 and settings["towers"]["epochs"] == 1


def test_arm_config_replaces_the_starting_one(scene_of, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'bundle = "elsewhere"\n[scenes.home]\nlimits.recall = 5\n'
        '[[scenes.home.recall]]\nuse = "popular"\nquota = 3\n'
    )
    scene = scene_of('[[arms]]\nname = "mine"\nconfig = "mine.toml"\n')
    assert scene.limit == 5 and scene.recall[0]["quota"] == 3
    with pytest.raises(ConfigError, match="has a config and a scene"):
        scene_of('[[arms]]\nname = "mine"\nconfig = "mine.toml"\nscene.limits.recall = 3\n')


def test_arms_reject_an_unknown_baseline(tmp_path):
    for line in ('baseline = "tower"\n', 'pair = ["tower", "towers"]\n'):
        (tmp_path / "arms.toml").write_text(line + TOWERS)
        with pytest.raises(ConfigError, match=r"'tower' is not an arm.*did you mean 'towers'"):
            read_arms(tmp_path / "arms.toml")


def test_arms_reject_an_invalid_pair(tmp_path):
    for line, message in (
        ('pair = ["towers"]', "expected a list of 2"),
        ('pair = ["towers", "towers"]', "'towers' twice"),
    ):
        (tmp_path / "arms.toml").write_text(f"{line}\n{TOWERS}")
        with pytest.raises(ConfigError, match=message):
            read_arms(tmp_path / "arms.toml")


def test_built_in_set_has_priority_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fairness").mkdir()
    assert read_arms("fairness").baseline == "no diversity"


def test_arms_reject_a_file_without_arms(tmp_path):
    (tmp_path / "arms.toml").write_text("arms = []\n")
    with pytest.raises(ConfigError, match="no arms"):
        read_arms(tmp_path / "arms.toml")


def test_unknown_set_is_reported_with_the_nearest_name():
    with pytest.raises(
        ConfigError,
        match=r"fairnes is not a file or a built-in set.*fairness.*sets are prerank",
    ):
        read_arms("fairnes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scene.limits = 3", "arm 'one': scene.limits = 3, expected a table"),
        ('scene.limits.recall = "x"', "arm 'one': scene.limits.recall = 'x', expected a number of works"),
    ],
)
def test_arms_reject_limits_of_a_wrong_type(change, message, scene_of):
    with pytest.raises(ConfigError, match=re.escape(message)):
        scene_of(f'[[arms]]\nname = "one"\n{change}\n')
