"""Changes of an inherited scene: tables by key, lists by name, false to remove."""

import pytest

from karec.config.inherit import merge
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.toml import Place

HOME = """
[scenes.home]
recall = [{ use = "popular", quota = 5 }, { use = "fresh", quota = 4, name = "new" }]
stages = [
    { name = "prerank", steps = [{ use = "index_rows" }, { use = "inner_product", k = "prerank" }] },
    { name = "rank", steps = [{ use = "top_k" }] },
]

[scenes.home.limits]
recall = 8
prerank = 6

[scenes.home.exposure]
targets = [{ column = "type", share = { "1" = 0.3 } }]
explore = 1

[scenes.live]
inherits = "home"
"""


@pytest.fixture
def live(write_config):
    return lambda changes: Config.read(write_config(HOME + changes)).scene("live")


def test_entry_of_another_step_inherits_no_keys(live):
    scene = live('stages.prerank.steps.inner_product = { use = "live_indicators" }\nlimits.prerank = false\n')
    assert scene.stages[0]["steps"] == [
        {"use": "index_rows"},
        {"name": "inner_product", "use": "live_indicators"},
    ]


def test_entry_of_the_same_step_keeps_its_other_keys(live):
    scene = live('recall.popular = { use = "popular", on_failure = "skip" }\n')
    assert scene.recall[0] == {"use": "popular", "quota": 5, "on_failure": "skip"}


def test_entry_with_before_is_added_before_another(live):
    scene = live(
        'stages.prerank.steps.not_shown = { use = "not_shown", before = "inner_product" }\n'
        'stages.extra = { steps = [{ use = "index_rows" }], before = "rank" }\n'
    )
    assert [step["use"] for step in scene.stages[0]["steps"]] == ["index_rows", "not_shown", "inner_product"]
    assert [stage["name"] for stage in scene.stages] == ["prerank", "extra", "rank"]
    assert "before" not in scene.stages[0]["steps"][1]


def test_inherited_entry_with_before_is_moved_before_another(live):
    scene = live('recall.new.before = "popular"\n')
    assert [source["use"] for source in scene.recall] == ["fresh", "popular"]
    assert scene.recall[0] == {"use": "fresh", "quota": 4, "name": "new"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            'recall.new.before = "populr"',
            r"live\.recall\.new: before = 'populr', .* \(did you mean 'popular'\?\); .*$",
        ),
        (
            'recall.new.before = "new"',
            r"live\.recall\.new: before = 'new', expected another entry; there are",
        ),
        ("recall.new.before = 1", r"live\.recall\.new: before = 1, expected str"),
        (
            "exposure.exploer = false",
            r"live\.exposure: no key 'exploer' is inherited \(did you mean 'explore'\?\)",
        ),
    ],
)
def test_scene_refuses_a_wrong_before_or_exposure_key_with_its_place(live, change, message):
    with pytest.raises(ConfigError, match=message):
        live(change + "\n")


def test_exposure_is_changed_key_by_key(live):
    scene = live("exposure.explore = 2\nexposure.rate = 0.5\n")
    assert scene.exposure == {"targets": [{"column": "type", "share": {"1": 0.3}}], "explore": 2, "rate": 0.5}
    assert live("exposure.targets = false\n").exposure == {"explore": 1}


def test_false_removes_the_inherited_exposure(live):
    assert live("exposure = false\n").exposure is None


def test_merge_changes_neither_table():
    parent = {"limits": {"recall": 3}, "recall": [{"use": "popular", "quota": 5}], "stages": []}
    child = {
        "limits": {"recall": 2},
        "recall": {"popular": {"quota": 1}, "new": {"use": "fresh", "before": "popular"}},
    }
    before = repr((parent, child))
    table = merge(parent, child, Place(None))
    assert [entry["use"] for entry in table["recall"]] == ["fresh", "popular"]
    assert repr((parent, child)) == before
