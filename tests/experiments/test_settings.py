"""experiments.toml: every mistake is refused with its line."""

import json
import re

import pytest
from two_experiments import EXPERIMENTS

import karec
from karec.bundle import Bundle
from karec.cli import main
from karec.config.arms import experiment_mistakes, load_experiments
from karec.config.scenes import Config
from karec.errors import ConfigError

WEIGHTS = '"scenes.home.rank.fusion.weights" = { like = 5.0 }'
SALT_LINE = 'salt = "ranking-2026"'
END = "end = 2090-01-01T00:00:00Z"
OWNED = '"scenes.home.recall.popular", '
MISTAKES = [
    (SALT_LINE, 'salt = ""', 3, "salt = '', expected a text that is not empty"),
    (SALT_LINE, 'salt = "recall-2026"', 7, "salt is that of the layer 'ranking'"),
    ('unit = "session"', 'unit = "device"', 8, "unit = 'device', expected one of 'user', 'session'"),
    (OWNED, f'{OWNED}"scenes.home.rank", ', 9, "'scenes.home.rank' overlaps with 'scenes.home.rank.fusion'"),
    (OWNED, f'{OWNED}"scenes.home.rank.fusion.share", ', 9, "overlaps with 'scenes.home.rank.fusion'"),
    (OWNED, f'{OWNED}"scenes.hom.recall", ', 9, r"expected scenes.SCENE.PLACE \(did you mean 'home'\?\)"),
    (OWNED, f'{OWNED}"recall", ', 9, "'recall', expected scenes.SCENE.PLACE"),
    ("coverage = 0.8", "coverage = 1.8", 15, "coverage = 1.8, expected 0 to 1"),
    ("coverage = 0.8", "covrage = 0.8", 15, r"unknown key 'covrage' \(did you mean 'coverage'\?\)"),
    ('layer = "ranking"', 'layer = "rankin"', 12, r"no layer 'rankin' \(did you mean 'ranking'\?\)"),
    ("arms.control.weight = 0.5", "arms.control.weight = 0.4", 16, "add up to 0.9, expected 1"),
    ("arms.control", "arms.holdout", 11, "'holdout' is reserved"),
    ("arms.control", "arms.interleaved", 11, "'interleaved' is reserved"),
    ("coverage = 0.8", "interleave = 1", 15, "interleave = 1, expected"),
    (
        "arms.control.weight = 0.5",
        "interleave = true\narms.more.weight = 0.25\narms.control.weight = 0.25",
        16,
        "3 arms, expected two of weight 0.5",
    ),
    ("arms.control", 'arms."a;b"', 11, "the name 'a;b' is reserved, or not of"),
    (END, "end = 2019-01-01T00:00:00Z", 14, "end is 2019-01-01.*expected after the start"),
    (END, "end = 2090-01-01T00:00:00", 14, "expected a time with its offset"),
    (END, f'{END}\ndebug = {{ u = "like" }}', 15, r"no arm 'like' \(did you mean 'likes'\?\)"),
    (WEIGHTS, "", 16, "no arm has patches"),
    (WEIGHTS, '"scenes.home.recall.popular.quota" = 3', 17, "is not in its layer 'ranking'"),
    ("fusion.weights", "fusion.weihts", 17, r"unknown key 'weihts' \(did you mean 'weights'\?\)"),
    ("{ like = 5.0 }", '"many"', 17, "weights = 'many', expected a table"),
    ("{ like = 5.0 }", "{ like = true }", 17, "like = True, expected float"),
    (END, f'{END}\nmetrics = {{ primary = "a/b/c" }}', 15, "'a/b/c' is not NAME or NAME/NAME"),
    (END, f'{END}\nmetrics = {{ others = ["like"] }}', 15, "the key 'primary' is missing"),
    (END, f'{END}\nmetrics = {{ primary = "like", others = ["like"] }}', 15, "a metric appears twice"),
    (END, f'{END}\nmetrics = {{ primary = "like", days = 0 }}', 15, "days = 0, expected"),
    (
        END,
        f'{END}\nmetrics = {{ primary = "like", guardrails = {{ mute = 0 }} }}',
        15,
        "guardrail of mute is 0",
    ),
    ("popular.quota", "popular.x.y", 25, "popular.x.y: no step, limit or key has this path"),
    ('limits.scored" = 20', 'limits.scored.x" = 2', 25, "scored.x: no step, limit or key has this path"),
    ('limits.scored" = 20', 'limits.scored" = "a"', 25, "scored = 'a', expected int"),
    ('popular.quota" = 3', 'popular" = 3', 25, "expected a table of keys to override, or false"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES)
def test_check_reports_a_mistake_with_its_line(write_experiments, old, new, line, message):
    path = write_experiments({old: new})
    (mistake,) = experiment_mistakes(Config.read(path))
    assert re.match(rf"{re.escape(str(path.with_name('experiments.toml')))}:{line}: .*{message}", mistake)
    with pytest.raises(ConfigError, match=message):
        karec.open(path)


def test_check_accepts_experiments_and_inspect_lists_their_arms(write_experiments, capsys):
    path = write_experiments()
    assert main(["check", str(path)]) == 0
    assert main(["inspect", str(path), "--json"]) == 0
    sections = json.loads(capsys.readouterr().out.partition("no mistakes\n")[2])
    rows = [tuple(row.values()) for row in sections[1]["rows"]]
    assert rows[0] == ("fusion", "ranking", "running", "control", "0.4", "")
    assert rows[3][:5] == ("popular", "recall", "running", "few", "0.5")


def test_experiments_of_one_layer_at_the_same_time_are_refused(write_experiments):
    again = EXPERIMENTS[
        EXPERIMENTS.index("[experiments.fusion]") : EXPERIMENTS.index("[experiments.popular]")
    ]
    text = EXPERIMENTS + again.replace("[experiments.fusion]", "[experiments.later]")
    with pytest.raises(ConfigError, match=r"experiments.later: runs at the same time as 'fusion'"):
        load_experiments(Config.read(write_experiments(text=text)))
    text = EXPERIMENTS + again.replace("fusion]", "later]").replace("2090", "2095").replace("2020", "2090")
    assert load_experiments(Config.read(write_experiments(text=text))) is not None


@pytest.mark.parametrize("key", ["interleave = true", 'unit = "creator"'])
def test_two_experiments_of_a_scene_that_share_pages_are_refused(write_experiments, key):
    if key == "interleave = true":
        text = EXPERIMENTS.replace("arms.control", f"{key}\narms.control")
    else:
        text = EXPERIMENTS.replace('unit = "session"', key).replace(SALT_LINE, f"{SALT_LINE}\n{key}")
    with pytest.raises(
        ConfigError, match=r"experiments.popular: runs at the same time as 'fusion', expected"
    ):
        load_experiments(Config.read(write_experiments(text=text)))


def test_interleaving_of_a_layer_by_creator_is_refused(write_experiments):
    replacements = {SALT_LINE: f'{SALT_LINE}\nunit = "creator"', "coverage = 0.8": "interleave = true"}
    with pytest.raises(ConfigError, match="true in a layer by creator, expected a layer by user or session"):
        load_experiments(Config.read(write_experiments(replacements)))


def test_metric_that_no_event_has_is_a_mistake_with_the_bundle(write_experiments, bundle_folder):
    config = Config.read(write_experiments({END: f'{END}\nmetrics = {{ primary = "lke/impression" }}'}))
    assert experiment_mistakes(config) == []
    (mistake,) = experiment_mistakes(config, Bundle.open(bundle_folder))
    assert re.search(r"experiments\.toml:15: .*'lke' is unknown \(did you mean 'like'\?\)", mistake)


def test_arm_that_the_bundle_lacks_is_a_mistake_only_with_the_bundle(write_experiments, bundle_folder):
    tone = '{ use = "tone", column = "tone", at_least = 0.5, before = "fusion" }'
    replacements = {
        '"scenes.home.rank.fusion"]': '"scenes.home.rank"]',
        WEIGHTS: f'"scenes.home.rank.tone" = {tone}',
    }
    config = Config.read(write_experiments(replacements))
    assert experiment_mistakes(config) == []
    (mistake,) = experiment_mistakes(config, Bundle.open(bundle_folder))
    assert "the arm fusion.likes: " in mistake and "tone" in mistake
