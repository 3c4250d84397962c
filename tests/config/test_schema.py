"""The JSON schema of karec.toml accepts the templates and rejects wrong keys and values."""

import tomllib
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from karec.config.registry import step_classes
from karec.config.schema import ADDED, FALLBACK, config_schema

VALIDATOR = Draft202012Validator(config_schema())
HOME = """
[scenes.home]
recall = [{ use = "popular", quota = 5 }]
limits = { recall = 5, few = 3 }

[[scenes.home.stages]]
name = "rank"
steps = [{ use = "dpp", k = "few" }, { use = "mine.steps:Own", any = 1 }]

[[scenes.home.stages]]
name = "rerank"

[[scenes.home.stages.steps]]
use = "page_rules"
rules = [{ column = "song_id", window = "session" }, { column = "type", apart = [[0, 1]] }]
places = [{ at = [1, 3] }]

[scenes.home.exposure]
caps = [{ column = "creator_id", share = 0.01 }]

[scenes.live]
inherits = "home"
limits.few = false
recall.popular = false
recall.fresh = { use = "fresh", quota = 4, before = "popular" }
stages.rank.steps.dpp.diversity = 0.3
"""


def errors(text):
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_config_schema_is_a_valid_json_schema():
    Draft202012Validator.check_schema(config_schema())


def test_config_schema_describes_every_step():
    defs = config_schema()["$defs"]
    steps = set(step_classes()) - set(ADDED)
    assert steps | {FALLBACK} <= set(defs) and not set(ADDED) & set(defs)
    assert all(defs[use]["description"] for use in steps)


def test_config_schema_accepts_the_templates():
    for template in files("karec.config").joinpath("templates").iterdir():
        assert errors(template.read_text(encoding="utf-8")) == [], template.name


def test_config_schema_accepts_inherited_changes_own_steps_and_rules():
    assert errors(HOME) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('use = "popular", quota = 5', 'use = "populr", quota = 5'),
        ('use = "popular", quota = 5', 'use = "popular"'),
        ('use = "popular", quota = 5', 'use = "popular", qouta = 5, quota = 5'),
        ('use = "popular", quota = 5', 'use = "popular", quota = 0'),
        ('use = "popular", quota = 5', 'use = "popular", quota = 2.5'),
        ('use = "popular", quota = 5', 'use = "top_k"'),
        ('k = "few"', "k = true"),
        ('k = "few"', 'k = "few", similarity = { whitn = 1 }'),
        ('k = "few"', 'k = "few", on_failure = "retry"'),
        ('window = "session"', 'window = "day"'),
        ("apart = [[0, 1]]", "apart = [[0]]"),
        ("apart = [[0, 1]]", "apart = [[0, 1, 2]]"),
        ("at = [1, 3]", "at = [1, 3], onyl = true"),
        ('name = "rank"', 'nme = "rank"'),
        ("few = 3", "few = 0"),
        ("few = 3", "few = 2.5"),
        ("[scenes.live]", "[scenes.live]\nstaes = []"),
        ("[scenes.live]", "[scenes.live]\ninherit = 'home'"),
        ('inherits = "home"', "inherits = 5"),
        ("recall.popular = false", "recall.popular = 5"),
        ("share = 0.01", "share = 'all'"),
        ("caps =", "cpas ="),
        ("[scenes.home]", "threads = 0\n[scenes.home]"),
        ("[scenes.home]", "thread = 4\n[scenes.home]"),
        ("[scenes.home]", "bundle = 5\n[scenes.home]"),
    ],
)
def test_config_schema_rejects_wrong_keys_and_values(old, new):
    assert old in HOME
    assert errors(HOME.replace(old, new, 1))


def test_config_schema_rejects_a_file_without_scenes():
    assert errors("bundle = 'b'\n") and errors("bundle = 'b'\nscenes = {}\n")
