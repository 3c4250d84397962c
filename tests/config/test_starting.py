"""The karec.toml that a new project starts from: valid TOML, sized for its catalogue, with its scene and its tasks."""

import tomllib

import pytest

from karec.config.scenes import Config
from karec.config.starting import starting_config


def config_of(tmp_path, scene, n_works, tasks):
    path = tmp_path / "karec.toml"
    path.write_text(starting_config(scene, n_works, tasks), encoding="utf-8")
    return Config.read(path)


@pytest.mark.parametrize(
    ("n_works", "counts"),
    [
        (10**7, {"recall": 100_000, "scored": 2000, "prerank": 1000, "rank": 100, "rerank": 30}),
        (1000, {"recall": 1000, "scored": 400, "prerank": 200, "rank": 40, "rerank": 30}),
        (1, {"recall": 1, "scored": 1, "prerank": 1, "rank": 1, "rerank": 1}),
    ],
)
def test_the_counts_fit_the_catalogue(tmp_path, n_works, counts):
    config = config_of(tmp_path, "home", n_works, ("click",))
    assert config.scenes["home"]["counts"] == counts
    scene = config.scene("home")
    assert scene.limit == counts["recall"]
    ks = [step["k"] for stage in scene.stages for step in stage["steps"] if "k" in step]
    assert ks == [counts[name] for name in ("scored", "prerank", "rank", "rerank")]


def test_quotas_are_shares_of_what_leaves_recall(tmp_path):
    scene = config_of(tmp_path, "home", 1000, ("click",)).scene("home")
    assert {channel["use"]: channel["quota"] for channel in scene.recall} == {
        "profile": 400,
        "social": 200,
        "model": 400,
        "popular": 400,
        "fresh": 400,
    }


def test_the_fused_score_weighs_the_tasks_of_the_data(tmp_path):
    scene = config_of(tmp_path, "home", 1000, ("click", "like", "gift sent")).scene("home")
    (fusion,) = (step for stage in scene.stages for step in stage["steps"] if step["use"] == "fusion")
    assert fusion["weights"] == {"click": 1.0, "like": 2.0, "gift sent": 1.0}


@pytest.mark.parametrize("name", ["home", "new_feed", "scene 1", 'say "hi"', "a.b"])
def test_any_scene_name_is_written_as_a_key(name):
    assert list(tomllib.loads(starting_config(name, 10, ("click",)))["scenes"]) == [name]
