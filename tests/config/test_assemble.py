"""karec.toml becomes a cascade. Each wrong key is refused with its place and the expected value."""

import numpy as np
import pytest

import karec
from karec.bundle import Bundle, publish_folder
from karec.config import load_cascade, open_bundle, scene_names
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.index import IndexSchema, ItemIndex
from karec.pipeline.step import Filter
from karec.pipeline.types import Request
from karec.steps.sources.fresh import Fresh
from karec.steps.sources.popular import Popular

GOOD = """
bundle = "bundles"

[scenes.home]
limits.recall = 8
recall = [{ use = "popular", quota = 5 }, {\
 use = "fresh", quota = 5, draws = 0, on_failure = "skip", name = "new" }]

[[scenes.home.stages]]
name = "prerank"
steps = [{ use = "index_rows" }, { use = "quota", column = "creator_id", at_most = 2 }]

[[scenes.home.stages]]
name = "rank"
steps = [{ use = "top_k" }]

[scenes.city]
limits.recall = 8
recall = [{ use = "fresh", quota = 5, draws = 0 }]
stages = [{ name = "rank", steps = [{ use = "top_k" }] }]
"""


class Even(Filter):
    """A step outside karec, found by module and class."""

    reason = "odd"

    def __init__(self, schema: IndexSchema, modulus: int = 2) -> None:
        self.schema = schema
        self.modulus = modulus

    def keep(self, request, candidates):
        return candidates.ids % self.modulus == 0


class ReadsTheIndex(Filter):
    """A step outside karec with the parameter ``index``."""

    def __init__(self, index: ItemIndex) -> None:
        self.ids = index.ids

    def keep(self, request, candidates):
        return np.isin(candidates.ids, self.ids)


@pytest.fixture
def config(tmp_path, platform):
    def write(folder):
        index = ItemIndex.build(
            platform.works.ids,
            np.eye(10, dtype=np.float32),
            columns={"creator_id": platform.works["creator_id"]},
            model_version=7,
        )
        index.save(folder / "index.karec")
        platform.save(folder / "snapshot")

    publish_folder(tmp_path / "bundles", 7, write)
    path = tmp_path / "karec.toml"
    path.write_text(GOOD)
    return path


def test_scene_runs_the_configured_steps(config):
    cascade = karec.open(config)
    assert [source.name for source in cascade.recall.sources] == ["popular", "new"]
    assert [source.on_failure for source in cascade.recall.sources] == ["fail", "skip"]
    merger = cascade.recall.merger
    assert (merger.quotas, merger.limit) == ((5, 5), 8), "quotas of the sources and limit of the scene"
    feed = cascade.run(Request(user_id=1, k=4))
    assert feed.versions == {
        "model": 7,
        "bundle": "v0000000007",
        "config": Config.read(config).scene("home").version,
        "index_generation": 1,
        "model_versions": (7,),
    }
    assert len(feed) == 4
    assert feed.trace.stage_sizes()["recall"] == 8


def test_recall_orders_sources_by_priority_and_drops_consumed_items(config):
    keys = 'limits.recall = 8\nconsumed = ["history"]'
    text = GOOD.replace("limits.recall = 8", keys, 1).replace(
        "draws = 0, on", "draws = 0, min_items = 2, priority = 1, on", 1
    )
    config.write_text(text)
    cascade = karec.open(config)
    assert [source.name for source in cascade.recall.sources] == ["new", "popular"]
    merger = cascade.recall.merger
    assert (merger.min_items, merger.consumed) == ((2, 0), ("history",))
    result, _ = cascade.recall.run(Request(user_id=1))
    assert result.ids.tolist() == [101, 102, 103, 109, 108, 107, 106, 105], "user 1 watched 100 and 104"


def test_trace_has_the_reason_of_each_source(config):
    traces = karec.open(config).run(Request(user_id=1, k=4)).trace.steps
    assert [trace.reason for trace in traces[:2]] == [Popular.reason, Fresh.reason] and all(
        trace.reason for trace in traces[:2]
    )


def test_source_with_timeout_ms_counts_its_calls(config):
    config.write_text(GOOD.replace("draws = 0, on", "draws = 0, timeout_ms = 60_000, on", 1))
    cascade = karec.open(config)
    feed = cascade.run(Request(user_id=1, k=4))
    assert not feed.degraded and cascade.recall.counts()["new"].calls == 1


def test_open_bundle_returns_the_bundle_of_the_scenes(config):
    bundle = open_bundle(config)
    assert bundle.path == (config.parent / "bundles" / "v0000000007").resolve()
    assert karec.open(config).bundle is bundle


def test_scene_runs_only_its_own_sources(config):
    assert scene_names(config) == ["home", "city"]
    feed = karec.open(config, scene="city").run(Request(user_id=1, k=3, scene="city"))
    assert [item.item_id for item in feed] == [100, 101, 102]


def test_step_outside_karec_needs_no_registration(config):
    config.write_text(
        GOOD.replace('{ use = "top_k" }', f'{{ use = "{__name__}:Even", modulus = 5 }}, {{ use = "top_k" }}')
    )
    cascade = karec.open(config)
    assert cascade.stages[1].steps[0].name == "Even"
    assert all(item.item_id % 5 == 0 for item in cascade.run(Request(user_id=1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bundle =", "bundel =", r"unknown key 'bundel' \(did you mean 'bundle'\?\)"),
        (
            'limits.recall = 8\nrecall = [{ use = "popular"',
            "limits.recall = 'x'\nrecall = [{ use = \"popular\"",
            "limits.recall = 'x', expected int",
        ),
        ("quota = 5 }, {", "quota = 2.5 }, {", "quota = 2.5, expected int"),
        ("quota = 5 }, {", "quota = true }, {", "quota = True, expected int"),
        ("at_most = 2", "at_most = 0", r"stages\[0\].steps\[1\] \(quota\): at_most must be positive, got 0"),
        ('column = "creator_id"', 'column = "mood"', "no column 'mood'; it has"),
        (
            '{ use = "index_rows" }',
            '{ use = "popular", quota = 1 }',
            r"steps\[0\]: 'popular' is a source, expected a Hydrator or",
        ),
        ('{ use = "index_rows" }', '"index_rows"', "must be a list of tables"),
        ('{ use = "index_rows" }', '{ use = "index_rows", index = "x" }', "unknown key 'index'"),
        ('{ use = "index_rows" }', '{ use = "nowhere.at:All" }', "'nowhere.at:All' cannot be imported"),
        ('{ use = "index_rows" }', '{ use = ":All" }', "use = ':All', expected 'package.module:Class'"),
        ('{ use = "index_rows" }', '{ use = "..at:All" }', r"use = '\.\.at:All', expected"),
        ('{ use = "index_rows" }', '{ use = "pathlib:Path" }', "is not a step; derive it from a role"),
        (
            '{ use = "index_rows" }',
            f'{{ use = "{__name__}:ReadsTheIndex" }}',
            "takes index, which no step is given: take schema",
        ),
        ("[scenes.home]", "[scenes.home", "is not TOML"),
        ('name = "new"', 'name = "popular"', "recall: the name 'popular' appears twice"),
        ('name = "new"', "name = 5", "name = 5, expected str"),
        (
            '{ use = "top_k" }',
            '{ use = "dpp", weights = { "1" = 2.0 } }',
            r"\(dpp\): weights\.1 = 2.0, expected a table",
        ),
        (
            '{ use = "top_k" }',
            '{ use = "dpp", weights = { mood = { "1" = 2.0 } } }',
            r"\(dpp\): weights: .* no column 'mood'",
        ),
        (
            '{ use = "top_k" }',
            '{ use = "dpp", types = "mood", max_per_type = 1 }',
            r"\(dpp\): types: .* no column 'mood'",
        ),
        (
            '{ use = "top_k" }',
            '{ use = "dpp", max_per_typ = 1 }',
            r"unknown key 'max_per_typ' \(did you mean 'max_per_type'",
        ),
        (
            "quota = 5 }, {",
            "quota = 5, min_items = 6 }, {",
            r"recall\[0\]: min_items = 6, expected 0 to 5, the quota",
        ),
        ("quota = 5 }, {", "quota = 5, min_items = -1 }, {", "min_items = -1, expected at least 0"),
        ("quota = 5 }, {", "quota = 5, min_items = 4.5 }, {", "min_items = 4.5, expected int"),
        (
            "limits.recall = 8",
            "limits.recall = 3",
            r"min_items of the sources sum to 4, above limits.recall = 3",
        ),
        ("quota = 5 }, {", "quota = 5, priority = 'x' }, {", "priority = 'x', expected int"),
        (
            "draws = 0, on",
            "timeout_ms = 0, on",
            r"recall\[1\] \(fresh\): timeout_ms = 0, expected more than 0",
        ),
        ("draws = 0, on", "timeout_ms = inf, on", "timeout_ms = inf, expected a finite number"),
        (
            "draws = 0, on",
            "timeout_ms = 1e9, on",
            "timeout_ms = 1000000000.0, expected more than 0, at most 86400000",
        ),
        ("quota = 5 }, {", "quota = 5, timeout_ms = 5 }, {", 'late source: set on_failure = "skip" too'),
        ('{ use = "top_k" }', '{ use = "top_k", min_items = 1 }', r"\(top_k\): unknown key 'min_items'"),
        (
            "limits.recall = 8",
            "limits.recall = 8\nconsumed = ['watched']",
            "consumed contains 'watched'; relations of items are",
        ),
        ("limits.recall = 8", "limits.recall = 8\nconsumed = 'history'", "consumed = 'history', expected"),
        ('use = "popular"', 'use = "city"', "the source city needs the column 'city' of users and of works"),
        ('use = "popular"', 'use = "community"', "the source community needs the users' column 'community'"),
    ],
)
def test_open_refuses_wrong_keys_types_and_steps_with_their_place(config, old, new, message):
    floored = (
        GOOD.replace("draws = 0, on", "draws = 0, min_items = 4, on") if "min_items of" in message else GOOD
    )
    assert old in floored
    config.write_text(floored.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        karec.open(config)


def test_open_names_an_unknown_scene(config):
    with pytest.raises(
        ConfigError, match=r"no scene 'hme' \(did you mean 'home'\?\); it has \['city', 'home'\]"
    ):
        karec.open(config, scene="hme")


def test_open_refuses_a_config_without_scenes(config):
    config.write_text('bundle = "bundles"\n[scenes]\n')
    with pytest.raises(ConfigError, match="scenes is empty"):
        karec.open(config)


def test_load_cascade_names_a_missing_config(tmp_path):
    with pytest.raises(ConfigError, match=r"karec\.toml cannot be read"):
        load_cascade(tmp_path / "karec.toml", "home", Bundle(tmp_path, 1, {}))
