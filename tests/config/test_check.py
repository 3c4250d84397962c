"""karec check reports all mistakes with their lines; with --show it prints each value and its line."""

import json
import re
import tomllib
from importlib.resources import files

import pytest

from karec.cli import main
from karec.config import load_cascade
from karec.config.check import config_mistakes
from karec.config.scenes import Config
from karec.config.show import effective_config
from karec.config.templates import HOME as HOME_SCENE
from karec.config.templates import OTHERS
from karec.errors import ConfigError

GOOD = """bundle = "bundles"

[scenes.home]
recall = [{ use = "popular", quota = 5 }, { use = "fresh", quota = 4, name = "new" }]
stages = [
    { name = "prerank", steps = [
        { use = "index_rows" },
        { use = "top_k", k = "prerank" },
    ] },
    { name = "rerank", steps = [
        { use = "page_rules", rules = [{ column = "song_id" }] },
    ] },
]

[scenes.home.limits]
recall = 8
prerank = 6

[scenes.live]
inherits = "home"
recall.popular.quota = 3
stages.prerank.steps.not_shown = { use = "not_shown", before = "top_k" }
"""
BAD = """bundle = 5
threads = 0

[scenes.home]
recall = [{ use = "populr", quota = 5 }, { use = "fresh", qouta = 4 }, { use = "top_k" }]
stages = [
    { name = "prerank", steps = [
        { use = "inner_product", k = "prernk" },
        { use = "dpp", diversity = "much", similarity = { whitn = 1, centre = 2 } },
    ] },
    { nme = "rerank", steps = [
        { use = "page_rules", rules = [{ column = "song_id", widow = 2 }, { window = 1 }] },
        { use = "top_k", on_failure = "retry" },
    ] },
]

[scenes.home.limits]
recall = 8
prerank = 6
rank = 0

[scenes.live]
inherits = "home"
recall.populr = 7

[scenes.late]
inherits = "hom"
"""
EVERY = [
    (1, "bundle = 5, expected str"),
    (2, "threads = 0, expected at least 1"),
    (5, r"scenes\.home\.recall\[0\]: no step 'populr' \(did you mean 'popular'\?\)"),
    (5, r"scenes\.home\.recall\[1\] \(fresh\): unknown key 'qouta' \(did you mean 'quota'\?\)"),
    (5, r"scenes\.home\.recall\[1\] \(fresh\): the key 'quota' is missing"),
    (5, r"scenes\.home\.recall\[2\]: 'top_k' is a selector, expected a Source"),
    (8, r"scenes\.home\.stages\[0\]\.steps\[0\]: k = 'prernk', expected .* \(did you mean 'prerank'\?\)"),
    (9, r"scenes\.home\.stages\[0\]\.steps\[1\] \(dpp\): diversity = 'much', expected float"),
    (
        9,
        r"scenes\.home\.stages\[0\]\.steps\[1\] \(dpp\)\.similarity: unknown key 'whitn' \(did you mean "
        r"'whiten'\?\)",
    ),
    (9, r"scenes\.home\.stages\[0\]\.steps\[1\] \(dpp\)\.similarity: centre = 2, expected bool"),
    (11, r"scenes\.home\.stages\[1\]: unknown key 'nme' \(did you mean 'name'\?\)"),
    (11, r"scenes\.home\.stages\[1\]: the key 'name' is missing"),
    (
        12,
        r"scenes\.home\.stages\[1\]\.steps\[0\] \(page_rules\)\.rules\[0\]: unknown key 'widow' "
        r"\(did you mean 'window'",
    ),
    (12, r"scenes\.home\.stages\[1\]\.steps\[0\] \(page_rules\)\.rules\[1\]: the key 'column' is missing"),
    (
        13,
        r"scenes\.home\.stages\[1\]\.steps\[1\] \(top_k\): on_failure = 'retry', expected one of 'fail', "
        r"'skip'",
    ),
    (20, r"scenes\.home: limits\.rank = 0, expected 1 to 2147483647"),
    (24, r"scenes\.live\.recall: populr = 7, expected a table of keys to override, or false"),
    (27, r"scenes\.late: no scene 'hom' \(did you mean 'home'\?\)"),
]


MORE_BAD = """threds = 4
bundle = "bundles"

[scenes.home]
qury = []
recall = [{ use = "popular", quota = 5 }, { use = "follow", quota = -1 }]
stages = [
    { name = "rerank", steps = [
        { use = "index_rows" },
        { use = "page_rules", k = "page", rules = [
            { column = "song_id", window = 1 },
            { colum = "creator_id" },
        ] },
    ] },
]

[scenes.home.limits]
recall = 8
page = 0

[scenes.live]
inherits = "home"
recall.populr.quota = 3
stages.rerank.steps.pagerules = false
limits.pages = false
"""
MORE = [
    (1, r"unknown key 'threds' \(did you mean 'threads'\?\)"),
    (5, r"scenes\.home: unknown key 'qury' \(did you mean 'query'\?\)"),
    (6, r"scenes\.home\.recall\[1\]: quota = -1, expected 1 to 2147483647"),
    (
        11,
        r"scenes\.home\.stages\[0\]\.steps\[1\] \(page_rules\)\.rules\[0\]: .*window = 1, expected "
        r"at least 2",
    ),
    (12, r"scenes\.home\.stages\[0\]\.steps\[1\] \(page_rules\)\.rules\[1\]: unknown key 'colum'"),
    (12, r"scenes\.home\.stages\[0\]\.steps\[1\] \(page_rules\)\.rules\[1\]: the key 'column' is missing"),
    (19, r"scenes\.home: limits\.page = 0, expected 1 to 2147483647"),
    (23, r"scenes\.live\.recall: no entry 'populr' is inherited \(did you mean 'popular'\?\)"),
    (
        24,
        r"scenes\.live\.stages\.rerank\.steps: no entry 'pagerules' is inherited "
        r"\(did you mean 'page_rules'\?\)",
    ),
    (25, r"scenes\.live\.limits: no limit 'pages' is inherited \(did you mean 'page'\?\)"),
]


@pytest.mark.parametrize(
    ("bad", "every"), [(BAD, EVERY), (MORE_BAD, MORE)], ids=["wrong entries", "wrong keys"]
)
def test_config_check_reports_every_mistake_with_its_line(tmp_path, bad, every):
    path = tmp_path / "karec.toml"
    path.write_text(bad)
    result = config_mistakes(path)
    assert len(result) == len(every), "\n".join(result)
    for line, (number, message) in zip(result, every, strict=True):
        assert re.match(rf"{re.escape(str(path))}:{number}: .*{message}", line), (line, number, message)


def test_config_check_accepts_a_correct_file(write_config):
    path = write_config(GOOD)
    assert config_mistakes(path) == []
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            '{ use = "index_rows" }',
            '{ use = "has_embedding" }',
            7,
            "has_embedding needs rows: put index_rows before",
        ),
        ('name = "rerank"', 'name = "prerank"', 5, "the name 'prerank' appears twice"),
        (
            '"page_rules", rules',
            '"page_rules", k = 3, rules',
            5,
            "the last step must be a selector without k",
        ),
        (
            '{ column = "song_id" }',
            '{ column = "song_id", window = 1 }',
            11,
            "window = 1, expected at least 2",
        ),
        ("recall.popular.quota = 3", "recall.popular.qouta = 3", 21, "unknown key 'qouta'"),
        ("recall.popular.quota = 3", "recall = []", 21, "a scene needs at least one source"),
        (
            'inherits = "home"\n',
            'inherits = "home"\nlimits.rerank = 4\n',
            21,
            r"scenes\.live \(inherits home\)\.limits\.rerank: no step names it.*or remove it",
        ),
        ("quota = 5 }", "quota = 0 }", 4, r"recall\[0\]: quota = 0, expected 1 to 2147483647"),
        (
            "quota = 5 }",
            "quota = 9, min_items = 9 }",
            4,
            "min_items of the sources sum to 9, above limits.recall = 8: make them smaller",
        ),
        (
            "recall = 8\n",
            "recall = 5_000_000_000\n",
            16,
            r"limits\.recall = 5000000000, expected 1 to 2147483647",
        ),
    ],
)
def test_config_check_covers_needs_and_sizes_without_a_bundle(tmp_path, old, new, line, message):
    assert old in GOOD
    path = tmp_path / "karec.toml"
    path.write_text(GOOD.replace(old, new, 1))
    result = config_mistakes(path)
    assert result and re.search(rf":{line}: .*{message}", result[0]), result


@pytest.mark.parametrize("value", ["0", '""', "{}"])
def test_config_check_refuses_a_fallback_that_is_not_a_list(tmp_path, value):
    path = tmp_path / "karec.toml"
    path.write_text(GOOD.replace('name = "prerank"', f'name = "prerank", fallback = {value}', 1))
    assert any("fallback: must be a list of tables" in mistake for mistake in config_mistakes(path))


@pytest.mark.parametrize("value", ["3", "true", "[{}]"])
def test_config_check_refuses_limits_that_are_not_a_table(tmp_path, value):
    path = tmp_path / "karec.toml"
    path.write_text(f'bundle = "bundles"\n[scenes.home]\nlimits = {value}\n')
    assert any("expected a table" in mistake for mistake in config_mistakes(path))


def test_config_check_reports_a_module_with_a_syntax_error(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("def")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "karec.toml"
    path.write_text(GOOD.replace('use = "popular"', 'use = "broken_module:Step"', 1))
    assert any("cannot be imported" in mistake for mistake in config_mistakes(path))


def test_config_check_reports_an_inherited_mistake_once(tmp_path):
    path = tmp_path / "karec.toml"
    path.write_text(GOOD.replace('use = "fresh", quota = 4', 'use = "fresh", quota = 4, decay = 1'))
    assert len(config_mistakes(path)) == 1


def test_config_check_covers_columns_with_a_bundle(write_config, capsys):
    path = write_config(GOOD.replace("song_id", "sung_id"))
    assert config_mistakes(path) == []
    assert main(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert (
        re.match(rf"{re.escape(str(path))}:11: scenes\.home.*no column 'sung_id'", out)
        and out.count("\n") == 1
    )


def test_config_check_reports_every_wrong_step_with_a_bundle(write_config, capsys):
    text = GOOD.replace("song_id", "sung_id").replace(
        '"fresh", quota = 4', '"popular", segment = "cty", quota = 4'
    )
    assert main(["check", str(write_config(text))]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "segment = 'cty'" in first and "no column 'sung_id' (did you mean 'song_id'?)" in second


def test_config_check_notes_unchecked_columns_without_a_bundle(tmp_path, capsys):
    path = tmp_path / "karec.toml"
    path.write_text(GOOD)
    assert main(["check", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{path}: no mistakes\n" and "columns and models were not checked" in captured.err


def test_config_check_reports_a_file_that_is_not_toml_in_one_line(tmp_path, capsys):
    path = tmp_path / "karec.toml"
    path.write_text(GOOD + "\n[scenes.home]\n")
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and re.fullmatch(
        r"karec check: .* is not TOML: Cannot declare .* twice .*\n", captured.err
    )


def test_config_mistakes_refuses_an_unknown_scene(write_config):
    with pytest.raises(ConfigError, match=r"no scene 'hoem' \(did you mean 'home'\?\)"):
        config_mistakes(write_config(GOOD), "hoem")


def facts_of(cascade):
    """Returns the type and the plain settings of each step of a cascade."""
    steps = [
        *cascade.query_hydrators,
        *cascade.recall.sources,
        *(s for stage in cascade.stages for s in stage.steps),
    ]
    plain = (int, float, str, bool, tuple, type(None))
    return [
        (type(s), {key: value for key, value in vars(s).items() if isinstance(value, plain)}) for s in steps
    ]


@pytest.mark.parametrize("scene", ["home", "live"])
def test_effective_config_loads_to_the_same_cascade(write_config, scene):
    path = write_config(GOOD)
    shown = path.with_name("shown.toml")
    shown.write_text(effective_config(path, scene))
    assert facts_of(load_cascade(shown, scene)) == facts_of(load_cascade(path, scene))
    ours, its = (Config.read(file).scene(scene) for file in (path, shown))
    assert ours.limit == its.limit
    for mine, other in zip(ours.recall, its.recall, strict=True):
        assert mine.items() <= other.items()


def test_effective_config_names_the_line_of_each_value(write_config):
    text = effective_config(write_config(GOOD), "live")
    for value, where in (
        ('use = "popular"', "line 4, scenes.home"),
        ("quota = 3", "line 21"),
        ("recall = 8", "line 16, scenes.home"),
        ('use = "not_shown"', "line 22"),
        ('k = "prerank"', "line 8, scenes.home"),
        ('rules = [{ column = "song_id" }]', "line 11, scenes.home"),
        ("places = []", "default"),
    ):
        assert re.search(rf"^{re.escape(value)} +# {re.escape(where)}$", text, re.MULTILINE), (value, text)


def test_check_shows_the_effective_config_as_json(write_config, capsys):
    path = write_config(GOOD)
    assert main(["check", str(path), "--scene", "live", "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == tomllib.loads(effective_config(path, "live"))


@pytest.mark.parametrize("name", [HOME_SCENE, *OTHERS])
def test_templates_have_no_mistake_and_an_effective_config(tmp_path, name):
    texts = [
        files("karec.config").joinpath(f"templates/{each}.toml").read_text() for each in {HOME_SCENE, name}
    ]
    path = tmp_path / "karec.toml"
    path.write_text("\n".join(sorted(texts, key=lambda text: "bundle =" not in text)))
    assert config_mistakes(path) == []
    shown = tmp_path / "shown.toml"
    shown.write_text(effective_config(path, name))
    assert config_mistakes(shown) == []
    ours, its = (Config.read(file).scene(name) for file in (path, shown))
    assert (ours.limit, ours.item_type, ours.consumed) == (its.limit, its.item_type, its.consumed)
    for mine, other in zip(ours.stages, its.stages, strict=True):
        for step, same in zip(mine["steps"], other["steps"], strict=True):
            assert step.items() <= same.items()


def test_scene_with_top_k_as_its_only_step_has_no_mistakes(tmp_path):
    path = tmp_path / "karec.toml"
    path.write_text(
        'bundle = "bundles"\n[scenes.home]\nlimits.rerank = 30\n'
        'recall = [{ use = "popular", quota = 5 }, { use = "fresh", quota = 4 }]\n'
        'stages = [{ name = "rank", steps = [{ use = "top_k" }] }]\n'
    )
    assert config_mistakes(path) == []
    assert Config.read(path).scene("home").limit == 9
