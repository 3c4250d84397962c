"""The karec.toml of a new project is valid TOML. Its limits, scene and tasks fit the data."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.relation import Relation
from karec.catalog.table import Table
from karec.config.check import config_mistakes
from karec.config.scenes import Config
from karec.config.templates import home_scene_text


def snapshot_of(platform, n_works, *, without=()):
    """Returns ``platform`` with ``n_works`` items, which lack the roles ``without``."""
    roles = {"creator_id", "song_id", "type", "tag", "upload_ms"} - set(without)
    return replace(
        platform, works=Table(np.arange(n_works), dict.fromkeys(roles, np.zeros(n_works, np.int64)))
    )


def config_of(tmp_path, scene, snapshot, objectives):
    path = tmp_path / "karec.toml"
    path.write_text(home_scene_text(scene, snapshot, objectives), encoding="utf-8")
    return Config.read(path)


def steps_of(scene):
    return [step for stage in scene.stages for step in stage["steps"]]


@pytest.mark.parametrize(
    ("n_works", "limits"),
    [
        (10**7, {"recall": 100_000, "scored": 5000, "prerank": 1000, "rank": 100, "rerank": 30}),
        (1000, {"recall": 1000, "scored": 1000, "prerank": 200, "rank": 40, "rerank": 30}),
        (101, {"recall": 101, "scored": 101, "prerank": 100, "rank": 30, "rerank": 30}),
        (40, {"recall": 40, "scored": 40, "prerank": 40, "rank": 30, "rerank": 30}),
        (1, {"recall": 1, "scored": 1, "prerank": 1, "rank": 1, "rerank": 1}),
    ],
)
def test_limits_fit_the_number_of_works(tmp_path, platform, n_works, limits):
    config = config_of(tmp_path, "home", snapshot_of(platform, n_works), {"click": 1.0})
    assert config.scenes["home"]["limits"] == limits
    scene = config.scene("home")
    assert scene.limit == limits["recall"]
    ks = [step["k"] for stage in scene.stages for step in stage["steps"] if "k" in step]
    assert ks == [limits[name] for name in ("scored", "prerank", "rank", "rerank")]


def test_quotas_are_in_proportion_to_limits_recall(tmp_path, platform):
    scene = config_of(tmp_path, "home", snapshot_of(platform, 1000), {"click": 1.0}).scene("home")
    assert {source["use"]: source["quota"] for source in scene.recall} == {
        "follow": 50,
        "profile": 400,
        "social": 200,
        "model": 400,
        "popular": 400,
        "fresh": 400,
    }


def test_fusion_has_the_weights_of_the_objectives(tmp_path, platform):
    objectives = {"click": 1.0, "like": 2.0, "gift sent": 0.5}
    scene = config_of(tmp_path, "home", snapshot_of(platform, 1000), objectives).scene("home")
    (fusion,) = (step for step in steps_of(scene) if step["use"] == "fusion")
    assert fusion["weights"] == objectives


def test_rank_ends_with_inner_product_if_ranked_by_towers(tmp_path, platform):
    path, snapshot = tmp_path / "karec.toml", snapshot_of(platform, 1000)
    path.write_text(home_scene_text("home", snapshot, {"click": 1.0}, ranked_by="towers"), encoding="utf-8")
    assert config_mistakes(path) == []
    rank = next(stage for stage in Config.read(path).scene("home").stages if stage["name"] == "rank")
    assert [step["use"] for step in rank["steps"]] == ["ranker", "fusion", "inner_product"]
    assert rank["steps"][-1]["k"] == 40


def test_columns_of_home_are_those_of_the_snapshot(tmp_path, platform):
    def columns_without(*without):
        scene = config_of(
            tmp_path, "home", snapshot_of(platform, 1000, without=without), {"click": 1.0}
        ).scene("home")
        (dpp,) = (step for step in scene.stages[-1]["steps"] if step["use"] == "dpp")
        return dpp.get("similarity"), [penalty.get("column") for penalty in scene.exposure["fairness"]]

    assert columns_without() == ({"facets": {"tag": 0.2}}, ["creator_id", None])
    assert columns_without("tag") == (None, ["creator_id", None])


def test_prerank_and_rank_select_by_als_scores_if_ranked_by_als(tmp_path, platform):
    path = tmp_path / "karec.toml"
    for without in ((), ("creator_id",)):
        snapshot = snapshot_of(platform, 10_000, without=without)
        path.write_text(home_scene_text("home", snapshot, {"click": 1.0}, ranked_by="als"), encoding="utf-8")
        assert config_mistakes(path) == []
        stages = {stage["name"]: stage for stage in Config.read(path).scene("home").stages}
        prerank, rank = (stages[name]["steps"] for name in ("prerank", "rank"))
        uses = [step["use"] for step in prerank]
        place = uses.index("als_score")
        limits = tomllib.loads(path.read_text())["scenes"]["home"]["limits"]
        assert uses[place - 1] == "inner_product" and prerank[place - 1]["k"] == limits["recall"]
        cut = ["top_k"] if without else ["quota", "top_k"]
        assert uses[place + 1 :][: len(cut)] == cut and prerank[place + len(cut)]["k"] < limits["recall"]
        assert [step["use"] for step in rank] == ["ranker", "fusion", "als_score", "top_k"]


@pytest.mark.parametrize("name", ["home", "new_feed", "scene 1", 'say "hi"', "a.b", "a\\b"])
def test_scene_name_is_written_as_a_toml_key(platform, name):
    assert list(tomllib.loads(home_scene_text(name, platform, {"click": 1.0}))["scenes"]) == [name]


@pytest.mark.parametrize(
    ("without", "sources", "steps"),
    [
        (["upload_ms"], {"fresh"}, {"freshness"}),
        (["song_id"], set(), set()),
        (["creator_id"], {"follow", "profile", "social"}, {"dpp", "freshness", "visible"}),
        (
            ["creator_id", "song_id"],
            {"follow", "profile", "social"},
            {"dpp", "freshness", "page_rules", "visible"},
        ),
        (
            ["creator_id", "song_id", "tag"],
            {"profile", "follow", "social"},
            {"dpp", "freshness", "page_rules", "visible"},
        ),
        (
            ["creator_id", "song_id", "tag", "type", "upload_ms"],
            {"profile", "fresh", "follow", "social"},
            {"dpp", "freshness", "page_rules", "visible"},
        ),
    ],
)
def test_steps_of_missing_roles_are_left_out(tmp_path, platform, without, sources, steps):
    whole = config_of(tmp_path, "home", snapshot_of(platform, 1000), {"click": 1.0}).scene("home")
    scene = config_of(tmp_path, "home", snapshot_of(platform, 1000, without=without), {"click": 1.0}).scene(
        "home"
    )
    assert {c["use"] for c in whole.recall} - {c["use"] for c in scene.recall} == sources
    assert {s["use"] for s in steps_of(whole)} - {s["use"] for s in steps_of(scene)} == steps
    text = (tmp_path / "karec.toml").read_text(encoding="utf-8")
    assert not [role for role in without if f'"{role}"' in text]


@pytest.mark.parametrize(
    ("dtype", "steps"), [(np.float32, ["tone", "tone_score"]), (np.int64, []), (None, [])]
)
def test_home_has_tone_steps_if_works_have_a_tone_in_numbers(tmp_path, platform, dtype, steps):
    """An integer column is a category, for example a musical tone."""
    snapshot = snapshot_of(platform, 1000)
    columns = {} if dtype is None else {"tone": np.zeros(1000, dtype)}
    works = replace(snapshot.works, columns={**snapshot.works.columns, **columns})
    scene = config_of(tmp_path, "home", replace(snapshot, works=works), {"click": 1.0}).scene("home")
    assert [step["use"] for step in steps_of(scene) if "tone" in step["use"]] == steps
    assert config_mistakes(tmp_path / "karec.toml") == []


def test_social_and_follow_are_left_out_without_relations(tmp_path, platform):
    alone = replace(snapshot_of(platform, 100), users=Table(np.arange(3), {}), relations={})
    assert not {"social", "follow"} & channels_of(tmp_path, alone)


def channels_of(folder, snapshot):
    return {
        source["use"] for source in config_of(folder, "home", snapshot, {"click": 1.0}).scene("home").recall
    }


def test_social_and_follow_are_kept_with_their_relations(tmp_path, platform):
    works = snapshot_of(platform, 100, without=["creator_id"])
    no_columns, families = Table(np.arange(3), {}), Table(np.arange(3), {"family": np.zeros(3, np.int32)})
    some = Relation(np.array([0, 1, 1, 1]), np.array([2]))
    for snapshot, there in (
        (replace(snapshot_of(platform, 100), users=families, relations={}), {"social"}),
        (replace(snapshot_of(platform, 100), users=no_columns, relations={"friends": some}), {"social"}),
        (replace(snapshot_of(platform, 100), users=no_columns, relations={"follows": some}), {"follow"}),
        # creators without known items
        (replace(works, users=no_columns, relations={"follows": some}), set()),
    ):
        assert {"social", "follow"} & channels_of(tmp_path, snapshot) == there


def plain_scene(tmp_path, platform, n_works, **changed):
    """Returns the scene of items without creators and songs."""
    snapshot = replace(snapshot_of(platform, n_works, without=["creator_id", "song_id"]), **changed)
    return config_of(tmp_path, "home", snapshot, {"click": 1.0}).scene("home")


@pytest.mark.parametrize(
    ("n_works", "recall", "prerank", "rank"),
    [(10**6, 100_000, 1000, 100), (5000, 5000, 1000, 100), (800, 800, 800, 100), (7, 7, 7, 7)],
)
def test_page_without_creators_is_the_top_k_of_the_ranker(tmp_path, platform, n_works, recall, prerank, rank):
    scene = plain_scene(tmp_path, platform, n_works)
    assert scene.exposure is None and scene.show_again
    assert [step["use"] for step in steps_of(scene)] == [
        *("index_rows", "has_embedding", "not_shown", "inner_product", "ranker", "fusion", "top_k", "top_k")
    ]
    ks = [step.get("k") for step in steps_of(scene) if step["use"] in ("inner_product", "top_k")]
    assert (scene.limit, ks) == (recall, [prerank, rank, None])
    assert scene.recall[-1] == {"use": "popular", "quota": recall}


def test_items_consumed_before_are_left_out_if_the_snapshot_has_them(tmp_path, platform):
    consumed = {"consumed": Relation(np.zeros(len(platform.users) + 1, np.int64), np.empty(0, np.int64))}
    plain = [step["use"] for step in steps_of(plain_scene(tmp_path, platform, 800, relations=consumed))]
    snapshot = replace(snapshot_of(platform, 800), relations=consumed)
    home = [
        step["use"] for step in steps_of(config_of(tmp_path, "home", snapshot, {"click": 1.0}).scene("home"))
    ]
    for uses in (plain, home):
        assert uses.index("not_consumed") < uses.index("inner_product")
        assert uses.index("fusion") < uses.index("consumed_last") < len(uses) - 1
    assert "not_consumed" not in [step["use"] for step in steps_of(plain_scene(tmp_path, platform, 800))]
