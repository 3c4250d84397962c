"""Substitutes as karec.toml declares them: checked, shown, inherited, left out of exports."""

import re

import pytest

from karec.config import load_cascade
from karec.config.checking import config_mistakes
from karec.config.host_stage import check_export, export_stage
from karec.config.shown import shown_scene
from karec.errors import ConfigError

TEXT = """bundle = "bundles"
[scenes.home]
limits = { recall = 8, prerank = 5 }
recall = [{ use = "popular", quota = 4, substitute = "nothing" }, { use = "fresh", quota = 8 }]
[[scenes.home.stages]]
name = "prerank"
steps = [
    { use = "index_rows" },
    { use = "top_k", k = "prerank", substitute = { use = "dpp", diversity = 0.1 } },
]
[[scenes.home.stages]]
name = "rank"
substitute = [{ use = "top_k" }]
steps = [{ use = "karec.lab.simulate.random_order:RandomOrder" }, { use = "top_k" }]
[scenes.live]
inherits = "home"
recall.popular.substitute = false
stages.rank.substitute = false
"""
STAGE = """substitute = [{ use = "top_k" }]
steps = [{ use = "karec.lab.simulate.random_order:RandomOrder" }, { use = "top_k" }]"""


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        ('substitute = []\nsteps = [{ use = "top_k" }]', "its substitute has no steps: name the selector"),
        ('substitute = "nothing"\nsteps = [{ use = "top_k" }]', "substitute"),
        (
            'substitute = [{ use = "topk" }]\nsteps = [{ use = "top_k" }]',
            r"no step 'topk' \(did you mean "
            r"'top_k'\?\)",
        ),
        (
            'substitute = [{ use = "popular", quota = 3 }]\nsteps = [{ use = "top_k" }]',
            "'popular' is a source",
        ),
        (
            'substitute = [{ use = "top_k", k = 3 }]\nsteps = [{ use = "top_k" }]',
            "must be a selector without k too",
        ),
        (
            'substitute = [{ use = "karec.lab.simulate.random_order:RandomOrder" }]\n'
            'steps = [{ use = "top_k" }]',
            "must be a selector without k too",
        ),
        (
            'substitute = [{ use = "top_k" }]\n'
            'steps = [{ use = "karec.lab.simulate.random_order:RandomOrder", substitute = "nothing" }, '
            '{ use = "top_k" }]',
            "has a substitute as a whole, and so its step 'RandomOrder' none of its own",
        ),
        (
            'substitute = [{ use = "top_k" }]\nsteps = [{ use = "not_shown" }, { use = "top_k" }]',
            "'not_shown' keeps a rule of the feed",
        ),
        (
            'substitute = [{ use = "nt_shown" }, { use = "top_k" }]\nsteps = [{ use = "top_k" }]',
            r"no step 'nt_shown' \(did you mean 'not_shown'\?\)",
        ),
    ],
)
def test_a_stage_s_substitute_that_cannot_stand_for_it_is_found_without_a_bundle_and_refused_with_one(
    tmp_path, write_config, rank, message
):
    path = tmp_path / "alone" / "karec.toml"
    path.parent.mkdir()
    path.write_text(TEXT.partition("[scenes.live]")[0].replace(STAGE, rank))
    found = config_mistakes(path)
    assert found and re.search(message, found[0]), found
    with pytest.raises(ConfigError, match=message):
        load_cascade(write_config(path.read_text()), "home")


def test_a_stage_s_substitute_may_name_its_rules_as_they_stand_there(write_config):
    rules = TEXT.replace(
        STAGE,
        'substitute = [{ use = "not_shown" }, { use = "top_k" }]\n'
        'steps = [{ use = "not_shown" }, { use = "karec.lab.simulate.random_order:RandomOrder" }, '
        '{ use = "top_k" }]',
    )
    path = write_config(rules)
    assert config_mistakes(path) == []
    rank = load_cascade(path, "home").stages[1]
    assert [step.name for step in rank.substitute] == ["not_shown", "top_k"]
    assert rank.substitute[0] is rank.steps[0]


def declared(cascade):
    """What stands in for each source, step and stage, by name; None where nothing does."""
    steps = [*cascade.recall.sources, *(step for stage in cascade.stages for step in stage.steps)]
    each = [(step.name, getattr(step.substitute, "name", step.substitute)) for step in steps]
    return each, [
        None if s.substitute is None else [step.name for step in s.substitute] for s in cascade.stages
    ]


@pytest.mark.parametrize("scene", ["home", "live"])
def test_what_is_shown_of_substitutes_loads_to_the_same_ones(write_config, scene):
    path = write_config(TEXT)
    shown = path.with_name("shown.toml")
    shown.write_text(shown_scene(path, scene))
    assert config_mistakes(shown) == []
    assert declared(load_cascade(shown, scene)) == declared(load_cascade(path, scene))


def test_a_scene_that_inherits_takes_substitutes_back_with_false(write_config):
    path = write_config(TEXT)
    home, live = (declared(load_cascade(path, scene)) for scene in ("home", "live"))
    assert home[0][0] == ("popular", "nothing") and live[0][0] == ("popular", None)
    assert home[1] == [None, ["top_k"]] and live[1] == [None, None]
    assert home[0][3] == live[0][3] == ("top_k", "dpp")


def test_an_exported_stage_is_the_same_with_substitutes_and_without(write_config):
    dpp = '{ use = "dpp", k = "prerank" }'
    plain = TEXT.replace(
        '{ use = "top_k", k = "prerank", substitute = { use = "dpp", diversity = 0.1 } }', dpp
    )
    path = write_config(plain.replace(dpp, dpp[:-2] + ', substitute = { use = "top_k" } }'))
    exported = path.with_name("prerank.txt")
    export_stage(path, "home", "prerank", exported)
    assert declared(load_cascade(path, "home"))[0][3] == ("dpp", "top_k")
    assert [line.split()[1] for line in exported.read_text().splitlines()[2:4]] == ["index_rows", "dpp"]
    write_config(plain)
    check_export(path, "home", "prerank", exported)  # it is not stale
