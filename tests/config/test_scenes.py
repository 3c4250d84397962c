"""Scenes: inheritance, and limits that steps name."""

import pytest

from karec.config import load_cascade
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.pipeline.types import Request

HOME = """
bundle = "bundles"

[scenes.home]
recall = [{ use = "popular", quota = 5 }, { use = "fresh", quota = 4, name = "new" }]
stages = [
    { name = "prerank", steps = [{ use = "index_rows" }, { use = "top_k", k = "prerank" }] },
    { name = "rank", steps = [{ use = "top_k" }] },
]

[scenes.home.limits]
recall = 8
prerank = 6

"""


def scene(write_config, text, name="live"):
    return Config.read(write_config(HOME + text)).scene(name)


def steps_of(cascade):
    return {stage.name: [step.name for step in stage.steps] for stage in cascade.stages}


def test_step_k_may_name_a_limit(write_config):
    home = scene(write_config, "", "home")
    assert home.limit == 8
    assert home.stages[0]["steps"][1] == {"use": "top_k", "k": 6}


def test_quota_may_name_a_limit(write_config):
    text = HOME.replace("quota = 4", 'quota = "new"') + "[scenes.live]\ninherits = 'home'\nlimits.new = 3\n"
    with pytest.raises(
        ConfigError, match=r"recall\[1\]: quota = 'new', expected a whole number or the name of a limit"
    ):
        Config.read(write_config(text)).scene("home")
    assert Config.read(write_config(text)).scene("live").recall[1]["quota"] == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("prerank = 6", "prerank = 2.5", r"home: limits\.prerank = 2.5, expected int"),
        ("[scenes.home]", '[scenes.home]\ninherits = "home"', "home: inherits in a circle: home → home"),
    ],
)
def test_scene_names_a_mistake_in_limits_or_inherits(write_config, old, new, message):
    assert old in HOME
    with pytest.raises(ConfigError, match=message):
        Config.read(write_config(HOME.replace(old, new, 1))).scene("home")


def test_scene_names_a_circle_of_several_inherited_scenes(write_config):
    circle = '[scenes.a]\ninherits = "b"\n[scenes.b]\ninherits = "c"\n[scenes.c]\ninherits = "b"\n'
    with pytest.raises(ConfigError, match=r"scenes\.c: inherits in a circle: b → c → b"):
        scene(write_config, circle, "a")


def test_scene_without_changes_equals_its_parent(write_config):
    home, live = (
        scene(write_config, "[scenes.live]\ninherits = 'home'\n", name) for name in ("home", "live")
    )
    assert (live.limit, live.query, live.recall, live.stages) == (
        home.limit,
        home.query,
        home.recall,
        home.stages,
    )


def test_scene_version_depends_on_values_only(write_config):
    version = scene(write_config, "", "home").version
    assert len(version) == 12 and int(version, 16) >= 0
    assert scene(write_config, "# a comment\n[scenes.other]\ninherits = 'home'\n", "home").version == version
    texts = [HOME.replace(*change) for change in (("recall = 8", "recall = 7"), ("quota = 5", "quota = 6"))]
    assert version not in [Config.read(write_config(text)).scene("home").version for text in texts]


def test_scene_replaces_inherited_keys_whole_and_limits_by_name(write_config):
    text = "[scenes.live]\ninherits = 'home'\nrecall = [{ use = 'fresh', quota = 2 }]\nlimits.prerank = 5\n"
    live = scene(write_config, text)
    assert live.recall == [{"use": "fresh", "quota": 2}]
    assert (live.limit, live.stages[0]["steps"][1]["k"]) == (8, 5)


def test_scene_overrides_removes_and_adds_entries_by_name(write_config):
    text = """
[scenes.live]
inherits = "home"
recall.popular = false
recall.new.quota = 2
recall.old = { use = "popular", quota = 3 }
stages.prerank.steps.index_rows = false
stages.prerank.steps.top_k.k = 4
"""
    live = load_cascade(write_config(HOME + text), "live")
    assert [(source.name, source.quota) for source in live.recall.sources] == [("new", 2), ("old", 3)]
    assert steps_of(live) == {"prerank": ["top_k"], "rank": ["top_k"]}
    assert live.stages[0].steps[0].k == 4
    assert len(live.run(Request(1, k=3, scene="live"))) == 3


def test_false_removes_an_inherited_limit(write_config):
    text = (
        "[scenes.live]\ninherits = 'home'\nstages.prerank.steps.top_k.k = 2\n"
        "limits = { recall = 3, prerank = false }\n"
    )
    live = scene(write_config, text)
    assert live.limit == 3 and live.stages[0]["steps"][1]["k"] == 2
    with pytest.raises(ConfigError, match=r"k = 'prerank', expected a whole number or the name of a limit"):
        scene(write_config, "[scenes.live]\ninherits = 'home'\nlimits.prerank = false\n")


def test_scene_inherits_the_changes_of_its_parent(write_config):
    text = (
        "[scenes.live]\ninherits = 'home'\nrecall.new.quota = 2\n[scenes.late]\ninherits = 'live'\n"
        "limits.recall = 5\n"
    )
    late = scene(write_config, text, "late")
    assert (late.limit, [source["quota"] for source in late.recall]) == (5, [5, 2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recall.populr = false", r"live\.recall: no entry 'populr' is inherited"),
        ('recall.popular = { why = "like {item}" }', r"why: this source has no item that caused its items"),
        ("staes = []", r"live \(inherits home\): unknown key 'staes' \(did you mean 'stages'\?\)"),
        ("inherit = 'home'", r"live \(inherits home\): unknown key 'inherit' \(did you mean 'inherits'\?\)"),
    ],
)
def test_scene_names_a_change_of_an_unknown_entry(write_config, change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_cascade(write_config(HOME + f"[scenes.live]\ninherits = 'home'\n{change}\n"), "live")
    assert "\n" not in str(caught.value)


def test_entries_by_name_need_an_inherited_list(write_config):
    text = HOME.replace(
        'recall = [{ use = "popular", quota = 5 }, { use = "fresh", quota = 4, name = "new" }]', ""
    )
    with pytest.raises(
        ConfigError, match=r"home\.recall: must be a list of tables; a table overrides entries of an inh"
    ):
        Config.read(write_config(text + "[scenes.home.recall.popular]\nquota = 1\n")).scene("home")


def test_scene_adds_entries_if_its_parent_has_none(write_config):
    live = scene(
        write_config,
        """
[scenes.bare]
recall = [{ use = "popular", quota = 5 }]
stages = [{ name = "rank" }]
[scenes.live]
inherits = "bare"
query.seen = { use = "user_features" }
stages.rank.steps.cut = { use = "top_k" }
""",
    )
    assert live.query == [{"name": "seen", "use": "user_features"}]
    assert live.stages == [{"name": "rank", "steps": [{"name": "cut", "use": "top_k"}]}]


def test_step_outside_karec_is_overridden_by_its_class_name(write_config):
    live = scene(
        write_config,
        """
[scenes.own]
recall = [{ use = "a.b:Near", quota = 5 }, { use = "c.d:Far", quota = 5 }]
[scenes.live]
inherits = "own"
recall.Far.quota = 2
recall.Near = false
""",
    )
    assert live.recall == [{"use": "c.d:Far", "quota": 2}]


@pytest.mark.parametrize(
    ("recall", "message"),
    [
        (
            '[{ use = "popular", quota = 5 }, { use = "popular", quota = 4 }]',
            r"scenes\.live\.recall: two entries of the inherited list have the same name\. Give one "
            r"another `name`\.$",
        ),
        ("5", r"scenes\.live\.recall: must be a list of tables$"),
        (
            "[{ quota = 1 }, { quota = 2 }]",
            r"scenes\.live\.recall: no entry 'new' is inherited; there are \['0', '1'\]$",
        ),
    ],
)
def test_scene_refuses_changes_by_name_of_a_list_without_unique_names(write_config, recall, message):
    with pytest.raises(ConfigError, match=message):
        scene(
            write_config,
            f'[scenes.odd]\nrecall = {recall}\n[scenes.live]\ninherits = "odd"\nrecall.new.quota = 3\n',
        )


def test_config_refuses_a_scene_that_is_not_a_table_with_its_place(write_config):
    with pytest.raises(ConfigError, match=r"scenes\.live: must be a table$"):
        Config.read(write_config(HOME.replace("[scenes.home]", "[scenes]\nlive = 5\n[scenes.home]"))).scene(
            "live"
        )
