"""`karec demo --scene all` serves every scene over one bundle and measures its objective."""

from dataclasses import replace

import numpy as np
import pytest

from karec import cli
from karec.config import load_cascade, scene_names
from karec.config.templates import HOME, OTHERS
from karec.pipeline.types import Request


def test_every_scene_of_the_config_serves_full_pages(job, bundle):
    assert scene_names(job / "karec.toml") == [HOME, *OTHERS]
    for name in OTHERS:
        cascade = replace(load_cascade(job / "karec.toml", name, bundle), side_effects=())
        users = bundle.snapshot.users.ids[:40].tolist()
        pages = [cascade.run(Request(user, scene=name, time_ms=bundle.snapshot.time_ms)) for user in users]
        reasons = {reason for page in pages for reason in page.degraded}
        assert all("page_rules" in reason for reason in reasons), name  # users who follow few creators
        assert any(len(page) == 10 for page in pages), name


def test_recommend_heads_the_table_with_the_item_type(job, capsys):
    for scene, item_type in (("home", "item"), ("song_request", "song")):
        assert cli.main(["recommend", str(job / "karec.toml"), "--scene", scene, "--user", "10000001"]) == 0
        out = capsys.readouterr().out
        head = next(line for line in out.splitlines() if "position" in line).replace("┃", " ").split()
        assert head[:2] == ["position", item_type] and len(set(head)) == len(head)


def test_report_compares_each_scene_with_random_and_popular_items(report):
    assert list(report["scenes"]) == [HOME, *OTHERS]
    for row in report["scenes"].values():
        assert row["requests"] + row["without_items"] == 12
        assert list(row["ways"]) == ["random", "popular", "cascade"]
        for way in row["ways"].values():
            assert way["ci"][0] <= way["value"] <= way["ci"][1]
        assert row["gain"].keys() == {"random", "popular"}


def test_scenes_beat_random_items_by_their_objective(report):
    """Twelve users are too few for one scene, so the test averages over all scenes."""
    gains = [row["gain"]["random"]["percent"] for row in report["scenes"].values()]
    assert np.mean(gains) > 0


def test_demo_rejects_unknown_scenes_and_scenes_of_other_data(tmp_path, capsys):
    assert cli.main(["demo", "--scene", "lives", "--out", str(tmp_path / "out")]) != 0
    error = error_of(capsys)
    assert "--scene lives: unknown template (did you mean 'live'?), expected one of ['home'" in error
    assert cli.main(["demo", "kuairand", "--scene", "live", "--out", str(tmp_path / "out")]) != 0
    assert "--scene needs the truth of the synthetic world, which kuairand does not" in error_of(capsys)
    assert not (tmp_path / "out").exists()


def error_of(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("scene", "column"), [("song_request", "song"), ("live", "creator"), ("creators", "creator")]
)
def test_recommend_prints_the_columns_of_the_item_type(job, scene, column, capsys):
    user = "10000001"
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", user, "--scene", scene]) == 0
    out = " ".join(capsys.readouterr().out.split())  # a title breaks if its table is narrow
    assert f"scene {scene}" in out and column in out
