"""`karec demo --scene all`: every scene is served over one bundle, and has a row by what it is for."""

from dataclasses import replace

import numpy as np
import pytest

from karec import cli
from karec.config import load_cascade, scene_names
from karec.config.templates import HOME, OTHERS
from karec.pipeline.types import Request


def test_the_config_has_every_scene_and_each_serves(job, bundle):
    assert scene_names(job / "karec.toml") == [HOME, *OTHERS]
    for name in OTHERS:
        cascade = replace(load_cascade(job / "karec.toml", name, bundle), side_effects=())
        users = bundle.snapshot.users.ids[:40].tolist()
        feeds = [cascade.run(Request(user, scene=name, time_ms=bundle.snapshot.time_ms)) for user in users]
        assert not any(feed.degraded for feed in feeds), name
        assert any(len(feed) == 10 for feed in feeds), name


def test_a_feed_is_headed_by_what_the_scene_recommends(job, capsys):
    for scene, kind in (("home", "work"), ("song_request", "song")):
        assert cli.main(["recommend", str(job / "karec.toml"), "--scene", scene, "--user", "10000001"]) == 0
        out = capsys.readouterr().out
        head = next(line for line in out.splitlines() if "position" in line).replace("┃", " ").split()
        assert head[:2] == ["position", kind] and len(set(head)) == len(head)


def test_each_scene_has_a_row_of_three_ways_with_intervals(report):
    assert list(report["scenes"]) == [HOME, *OTHERS]
    for row in report["scenes"].values():
        assert row["requests"] + row["without_items"] == 12
        assert list(row["ways"]) == ["random", "popular", "cascade"]
        for way in row["ways"].values():
            assert way["ci"][0] <= way["value"] <= way["ci"][1]
        assert row["gain"].keys() == {"random", "popular"}


def test_what_a_scene_is_for_is_more_likely_in_its_feeds_than_by_chance(report):
    """Twelve users say little of one scene; all scenes together say enough."""
    gains = [row["gain"]["random"]["percent"] for row in report["scenes"].values()]
    assert np.mean(gains) > 0


def test_a_scene_of_no_template_or_of_other_data_is_refused_before_anything_runs(tmp_path, capsys):
    assert cli.main(["demo", "--scene", "lives", "--out", str(tmp_path / "out")]) != 0
    said = told(capsys)
    assert "--scene lives: unknown template (did you mean 'live'?), expected one of ['home'" in said
    assert cli.main(["demo", "kuairand", "--scene", "live", "--out", str(tmp_path / "out")]) != 0
    assert "--scene needs the truth of the synthetic world, which kuairand does not" in told(capsys)
    assert not (tmp_path / "out").exists()


def told(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("scene", "column"), [("song_request", "song"), ("live", "creator"), ("creators", "creator")]
)
def test_one_more_feed_of_a_kind_is_a_table_with_its_items_columns(job, scene, column, capsys):
    user = "10000001"
    assert cli.main(["recommend", str(job / "karec.toml"), "--user", user, "--scene", scene]) == 0
    shown = " ".join(capsys.readouterr().out.split())  # a title breaks where its table is narrow
    assert f"scene {scene}" in shown
    assert column in shown
