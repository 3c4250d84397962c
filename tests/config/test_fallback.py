"""Fallbacks of stages in a karec.toml: checked, shown, inherited, left out of exports."""

import json
import re

import pytest

from karec.config import load_cascade
from karec.config.check import config_mistakes
from karec.config.host_stage import check_export, export_stages
from karec.config.show import effective_config
from karec.errors import ConfigError

RANDOM = '{ use = "karec.lab.simulate.random_order:RandomOrder" }'
STAGE = f"""fallback = [{{ use = "top_k" }}]
steps = [{RANDOM}, {{ use = "top_k" }}]"""
TEXT = f"""bundle = "bundles"
[scenes.home]
limits = {{ recall = 8, prerank = 5 }}
recall = [{{ use = "popular", quota = 4 }}, {{ use = "fresh", quota = 8 }}]
[[scenes.home.stages]]
name = "prerank"
steps = [{{ use = "index_rows" }}, {{ use = "dpp", k = "prerank" }}]
[[scenes.home.stages]]
name = "rank"
{STAGE}
[scenes.live]
inherits = "home"
stages.rank.fallback = false
"""


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ('fallback = []\nsteps = [{ use = "top_k" }]', "its fallback has no steps"),
        ('fallback = "nothing"\nsteps = [{ use = "top_k" }]', "fallback"),
        (
            'fallback = [{ use = "topk" }]\nsteps = [{ use = "top_k" }]',
            r"no step 'topk' \(did you mean 'top_k'\?\)",
        ),
        ('fallback = [{ use = "popular", quota = 3 }]\nsteps = [{ use = "top_k" }]', "'popular' is a source"),
        (
            'fallback = [{ use = "top_k", k = 3 }]\nsteps = [{ use = "top_k" }]',
            "the last stage must end with a selector without k too",
        ),
        (
            f'fallback = [{RANDOM}]\nsteps = [{{ use = "top_k" }}]',
            "the last stage must end with a selector without k too",
        ),
        (
            'fallback = [{ use = "top_k" }]\nsteps = [{ use = "not_shown" }, { use = "top_k" }]',
            "its fallback lacks 'not_shown', which keeps a rule of the page",
        ),
    ],
)
def test_wrong_fallback_is_refused_with_and_without_a_bundle(tmp_path, write_config, rank, message):
    path = tmp_path / "alone" / "karec.toml"
    path.parent.mkdir()
    path.write_text(TEXT.partition("[scenes.live]")[0].replace(STAGE, rank))
    mistakes = config_mistakes(path)
    assert mistakes and re.search(message, mistakes[0]), mistakes
    with pytest.raises(ConfigError, match=message):
        load_cascade(write_config(path.read_text()), "home")


def test_fallback_shares_the_rules_of_its_stage(write_config):
    steps = f'[{{ use = "not_shown" }}, {RANDOM}, {{ use = "top_k" }}]'
    text = TEXT.replace(STAGE, f'fallback = [{{ use = "not_shown" }}, {{ use = "top_k" }}]\nsteps = {steps}')
    path = write_config(text)
    assert config_mistakes(path) == []
    rank = load_cascade(path, "home").stages[1]
    assert [step.name for step in rank.fallback] == ["not_shown", "top_k"]
    assert rank.fallback[0] is rank.steps[0]


def test_fallback_has_each_of_two_equal_filters_of_its_stage(write_config):
    shown, top_k = '{ use = "not_shown" }', '{ use = "top_k" }'
    text = f"fallback = [{shown}, {shown}, {top_k}]\nsteps = [{shown}, {RANDOM}, {shown}, {top_k}]"
    path = write_config(TEXT.replace(STAGE, text))
    assert config_mistakes(path) == []
    rank = load_cascade(path, "home").stages[1]
    assert rank.fallback[0] is rank.steps[0] and rank.fallback[1] is rank.steps[2]


@pytest.mark.parametrize("name", ["request", "recall", "rest"])
def test_stage_with_a_reserved_name_is_refused_with_and_without_a_bundle(write_config, name):
    path = write_config(TEXT.replace('name = "rank"', f'name = "{name}"').partition("[scenes.live]")[0])
    message = rf"stages\[1\].*: a stage is named '{name}', expected none of"
    assert re.search(message, config_mistakes(path)[0])
    with pytest.raises(ConfigError, match=message):
        load_cascade(path, "home")


def fallbacks(cascade):
    return [
        None if stage.fallback is None else [step.name for step in stage.fallback] for stage in cascade.stages
    ]


@pytest.mark.parametrize("scene", ["home", "live"])
def test_effective_config_has_the_same_fallbacks(write_config, scene):
    path = write_config(TEXT)
    shown = path.with_name("shown.toml")
    shown.write_text(effective_config(path, scene))
    assert config_mistakes(shown) == []
    assert fallbacks(load_cascade(shown, scene)) == fallbacks(load_cascade(path, scene))


def test_inheriting_scene_removes_a_fallback_with_false(write_config):
    path = write_config(TEXT)
    assert fallbacks(load_cascade(path, "home")) == [None, ["top_k"]]
    assert fallbacks(load_cascade(path, "live")) == [None, None]


def test_exported_stage_is_the_same_with_and_without_fallback(write_config):
    name = 'name = "prerank"\n'
    path = write_config(TEXT.replace(name, name + 'fallback = [{ use = "top_k", k = "prerank" }]\n'))
    exported = path.with_name("prerank.json")
    export_stages(path, "home", ["prerank"], exported)
    assert fallbacks(load_cascade(path, "home"))[0] == ["top_k"]
    (stage,) = json.loads(exported.read_text())["stages"]
    assert [step["use"] for step in stage["steps"]] == ["index_rows", "dpp"]
    write_config(TEXT)
    check_export(path, "home", exported)
