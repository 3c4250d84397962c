"""An exported stage contains the hash of its source, so that check_export detects a stale file."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from karec import ItemIndex, cli
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.config import load_cascade
from karec.config.host_stage import check_export, export_stages, hosted_stages, step_settings
from karec.errors import ConfigError
from karec.steps.scorers.fusion import Fusion
from karec.steps.selectors.dpp import Dpp
from karec.steps.shared.similarity import Similarity

TEXT = """
bundle = "bundles"
[scenes.home]
limits = { recall = 8, prerank = 5 }
recall = [{ use = "popular", quota = 8 }]
[[scenes.home.stages]]
name = "prerank"
steps = [{ use = "index_rows" }, { use = "inner_product", k = "prerank" }]
[[scenes.home.stages]]
name = "rank"
steps = [{ use = "top_k" }]
"""


@pytest.fixture
def config(write_config):
    return write_config(TEXT)


@pytest.fixture
def exported(config):
    path = config.parent / "prerank.json"
    export_stages(config, "home", ["prerank"], path)
    return path


def source(path):
    return json.loads(path.read_text())["source"]


def test_exported_stage_names_its_scene_and_the_hash_of_its_source(exported):
    content = json.loads(exported.read_text(encoding="ascii"))
    steps = [
        {"use": "index_rows", "name": "index_rows"},
        {"use": "inner_product", "name": "inner_product", "k": 5, "at_most": [], "min_items": 0},
    ]
    assert content == {
        "format": 1,
        "scene": "home",
        "source": source(exported),
        "stages": [{"name": "prerank", "steps": steps}],
    }
    assert len(source(exported)) == 16 and int(source(exported), 16) >= 0


DPP = """{ use = "dpp", name = "last one", diversity = 0.25, ridge = 1, types = "creator_id", \
type_weight = 0.5, window = 4, max_per_type = 3, min_per_type = 1, \
weights = { song_id = { "50" = 2, "51" = 0.5 } } }"""
EVERY_STEP = f"""[
    {{ use = "index_rows" }},
    {{ use = "has_embedding", name = "has vectors" }},
    {{ use = "not_shown", name = "not_shown" }},
    {{ use = "inner_product", k = "prerank" }},
    {{ use = "freshness", weight = 1, half_life_hours = 12 }},
    {{ use = "tone", column = "song_id", at_least = 1 }},
    {{ use = "quota", column = "creator_id", at_most = 2 }},
    {DPP},
    {{ use = "dpp", k = 4, type_weight = 0 }},
]"""


def test_exported_stage_has_all_settings_and_defaults_of_each_step(config):
    config.write_text(
        TEXT.replace('[{ use = "index_rows" }, { use = "inner_product", k = "prerank" }]', EVERY_STEP, 1)
    )
    path = config.parent / "prerank.json"
    export_stages(config, "home", ["prerank"], path)
    (stage,) = json.loads(path.read_text())["stages"]
    dpp = {"centre": False, "whiten": 0.0, "facets": []}
    assert stage["steps"] == [
        {"use": "index_rows", "name": "index_rows"},
        {"use": "has_embedding", "name": "has vectors"},
        {"use": "not_shown", "name": "not_shown"},
        {"use": "inner_product", "name": "inner_product", "k": 5, "at_most": [], "min_items": 0},
        {"use": "freshness", "name": "freshness", "weight": 1, "half_life_hours": 12},
        {"use": "tone", "name": "tone", "column": "song_id", "at_least": 1},
        {"use": "quota", "name": "quota", "column": "creator_id", "at_most": 2},
        dpp
        | {"use": "dpp", "name": "last one", "k": None, "diversity": 0.25, "ridge": 1, "type_weight": 0.5}
        | {"window": 4, "types": "creator_id", "max_per_type": 3, "min_per_type": 1}
        | {
            "weights": [
                {"column": "song_id", "value": 50, "factor": 2},
                {"column": "song_id", "value": 51, "factor": 0.5},
            ]
        },
        dpp
        | {"use": "dpp", "name": "dpp", "k": 4, "diversity": 0.5, "ridge": 0.01, "type_weight": 0}
        | {"window": None, "types": "type", "max_per_type": None, "min_per_type": 0, "weights": []},
    ]


def test_export_writes_all_stages_if_none_is_named(config):
    path = config.parent / "stages.json"
    export_stages(config, "home", (), path)
    stages = json.loads(path.read_text())["stages"]
    assert [stage["name"] for stage in stages] == ["prerank", "rank"]
    assert stages[1]["steps"] == [{"use": "top_k", "name": "top_k", "k": None}]
    check_export(config, "home", path)


def test_hosted_stages_end_before_a_step_that_runs_only_in_python(config):
    assert hosted_stages(config, "home") == ["prerank", "rank"]
    config.write_text(TEXT.replace('"top_k"', '"mmr"'))
    assert hosted_stages(config, "home") == ["prerank"]


PAGE_RULES = """{ use = "page_rules", k = 6, rules = [
    { column = "creator_id", window = "session", max_count = 2 },
    { column = "song_id", window = 3, apart = [[50, 51]] },
] }"""


def test_exported_page_rules_have_all_settings(config):
    config.write_text(TEXT.replace('{ use = "top_k" }', PAGE_RULES))
    path = config.parent / "stages.json"
    export_stages(config, "home", ["rank"], path)
    assert json.loads(path.read_text())["stages"][0]["steps"][0] == {
        "use": "page_rules",
        "name": "page_rules",
        "k": 6,
        "rules": [
            {"column": "creator_id", "window": None, "max_count": 2, "values": [], "apart": []},
            {"column": "song_id", "window": 3, "max_count": 1, "values": []}
            | {"apart": [{"first": 50, "second": 51}]},
        ],
    }


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            '{ use = "mmr", k = 3 }',
            r"^the step 'mmr' runs only in Python; C\+\+ hosts have \['dpp', 'freshness', 'fusion', "
            r"'has_embedding', 'index_rows', 'inner_product', 'not_shown', 'page_rules', 'quota', 'ranker', "
            r"'tone', 'top_k'\]$",
        ),
        (
            '{ use = "page_rules", places = [{ at = 4 }] }',
            r"^the step 'page_rules': places work only in Python; C\+\+ hosts have the rules of neighbours$",
        ),
        (
            '{ use = "tone", column = "song_id", at_least = 1, on_failure = "skip" }',
            r"^the step 'tone': on_failure = 'skip' works only in Python; a C\+\+ host gets the failure$",
        ),
    ],
)
def test_export_refuses_a_step_that_runs_only_in_python_by_name(config, step, message):
    config.write_text(TEXT.replace('{ use = "index_rows" }', f'{{ use = "index_rows" }}, {step}', 1))
    with pytest.raises(ConfigError, match=message):
        export_stages(config, "home", ["prerank"], config.parent / "prerank.json")


def test_export_refuses_a_step_that_needs_rows_before_index_rows(config):
    path = config.parent / "stages.json"
    config.write_text(TEXT.replace('{ use = "index_rows" }, ', '{ use = "not_shown" }, '))
    with pytest.raises(ConfigError, match=r"^the step 'inner_product' needs rows: put index_rows before it$"):
        export_stages(config, "home", (), path)
    config.write_text(TEXT.replace("top_k", "page_rules"))
    export_stages(config, "home", ["rank"], path)


def test_export_refuses_a_scene_of_another_item_type(config):
    config.write_text(TEXT.replace("[scenes.home]", '[scenes.home]\nitem_type = "song"'))
    with pytest.raises(
        ConfigError, match=r"^scenes\.home: item_type works only in Python; C\+\+ hosts have works$"
    ):
        export_stages(config, "home", (), config.parent / "stages.json")


def test_export_refuses_similarity_of_own_vectors():
    columns = {"audio": np.ones((3, 1), np.float32)}
    snapshot = Snapshot(1, Table(np.arange(3), columns), Table(np.arange(1), {}), {}, {})
    index, bundle = (
        ItemIndex.build(np.arange(3), np.eye(3, dtype=np.float32)),
        SimpleNamespace(snapshot=snapshot),
    )
    step = Dpp(index.schema, similarity=Similarity("audio"), bundle=bundle)
    object.__setattr__(step, "name", "varied")
    with pytest.raises(
        ConfigError,
        match=r"^the step 'varied': similarity.vectors = 'audio' works only in Python; C\+\+ "
        r"hosts have 'item'$",
    ):
        step_settings(step)


def test_export_refuses_fusion_with_a_share():
    step = Fusion(SimpleNamespace(tasks=("click",)), {"click": 1.0}, share=0.5)
    step.name = "fused"
    with pytest.raises(ConfigError, match=r"^the step 'fused': share = 0\.5 works only in Python$"):
        step_settings(step)


def test_check_export_refuses_a_missing_or_foreign_file(config, tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.txt cannot be read: No such file or directory$"):
        check_export(config, "home", tmp_path / "absent.txt")
    other = tmp_path / "other.txt"
    other.write_bytes(b"caf\xe9")
    with pytest.raises(
        ConfigError, match=r"other\.txt is not an exported stage, expected a file of karec export stage$"
    ):
        check_export(config, "home", other)


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("prerank = 5", "prerank = 6", True),
        ('"index_rows" }', '"index_rows" }, { use = "not_shown" }', True),
        ('{ use = "inner_product", k = "prerank" }', '{ k = "prerank", use = "inner_product" }', False),
        ("bundle", "# a comment\nbundle", False),
        ("quota = 8", "quota = 7", False),
    ],
)
def test_exported_stage_is_stale_if_its_table_or_limits_change(config, exported, old, new, stale):
    check_export(config, "home", exported)
    before = source(exported)
    config.write_text(TEXT.replace(old, new, 1))
    if stale:
        with pytest.raises(
            ConfigError, match=r"prerank\.json is stale: its stages of scenes\.home in .*karec\.toml"
        ):
            check_export(config, "home", exported)
    else:
        check_export(config, "home", exported)
    export_stages(config, "home", ["prerank"], exported)
    assert (source(exported) != before) == stale


def test_exported_stage_is_stale_if_its_file_was_edited(config, exported):
    exported.write_text(exported.read_text().replace('"k": 5', '"k": 6'))
    with pytest.raises(ConfigError, match="is stale: it was edited, or another version of karec wrote it"):
        check_export(config, "home", exported)


def test_config_and_exported_stage_are_refused_in_place_of_each_other(config, exported):
    with pytest.raises(
        ConfigError, match=r"karec\.toml is a karec\.toml, expected a file of karec export stage$"
    ):
        check_export(config, "home", config)
    with pytest.raises(
        ConfigError, match=r"prerank\.json is a JSON file, .* for C\+\+ hosts; expected a karec\.toml"
    ):
        load_cascade(exported, "home")


def test_export_stage_check_reports_a_stale_file(config, exported, capsys):
    command = ["export", "stage", str(config), "--out", str(exported), "--check"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.endswith("prerank.json is up to date\n")
    config.write_text(TEXT.replace("prerank = 5", "prerank = 6"))
    written = exported.read_text()
    assert cli.main(command) == 2
    assert "is stale" in capsys.readouterr().err
    assert exported.read_text() == written
