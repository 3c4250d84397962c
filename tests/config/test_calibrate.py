"""``karec calibrate``: from pages of single scenes and their events to a scene that mixes them."""

import json

import numpy as np
import pytest
from mixed_scene import MIX, mixed_config

import karec
from karec.cli import main
from karec.config import open_bundle
from karec.config.calibrate import calibrate_scene
from karec.errors import ConfigError, DataError
from karec.pipeline.types import Request
from karec.times import HOUR_MS

SCENES = {"work": "feed", "live": "live", "song": "songs"}
PLAIN, _, MIX_TABLE = MIX.partition("\n[scenes.feed.mix]")  # the scene before it is mixed


def play(path, scenes, n_moments=24):
    """Shows pages to all users each two hours; the best item of a page is enjoyed, others rarely."""
    bundle, rng = open_bundle(path), np.random.default_rng(0)
    enjoyed = {
        name: (bundle if name == "work" else bundle.item_type(name)).snapshot.meaning.enjoyed[0]
        for name in SCENES
    }
    with karec.open(path, scene=None, reload=True) as swap:
        for moment in range(n_moments):
            time_ms = bundle.snapshot.time_ms + 2 * moment * HOUR_MS
            rows = []
            for user in range(1, 13):
                for scene in scenes:
                    page = swap.run(Request(user, 10, scene, time_ms))
                    for item in page:
                        row = {"user_id": user, "item_id": item.item_id, "item_type": item.item_type}
                        shown = {"request_id": page.request.request_id, "time_ms": time_ms}
                        rows.append({"event": "impression", **row, **shown})
                        if rng.random() < (0.8 if item.position < 3 else 0.1):
                            label = {"labels": [enjoyed[item.item_type]], "time_ms": time_ms + 1}
                            rows.append({"event": "label", **row, **label})
            assert swap.record(rows, now_ms=time_ms + 2).refused == {}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = mixed_config(tmp_path_factory.mktemp("calibrated"), mix=PLAIN, calibrations=None)
    play(path, SCENES.values())
    path.write_text(path.read_text() + "\n[scenes.feed.mix]" + MIX_TABLE)
    return path


def test_calibrated_scene_opens_and_orders_types_by_probability(config):
    results = {result.item_type: result for result in calibrate_scene(config, "feed")}
    assert {name: result.scene for name, result in results.items()} == SCENES
    assert all(result.error.n_rows > 0 and 0 <= result.error.ece < 0.2 for result in results.values())
    with karec.open(config, scene="feed").without_side_effects() as feed:
        page = feed.run(Request(3, 10, "feed"))
    assert {item.item_type for item in page} == {*SCENES}
    assert all(0 < item.score < 1 for item in page)


def test_mixed_pages_calibrate_the_scene_once_there_are_enough(config):
    calibrate_scene(config, "feed")
    play(config, ["feed"], n_moments=30)
    results = {result.item_type: result for result in calibrate_scene(config, "feed")}
    assert {name: result.scene for name, result in results.items()} == dict.fromkeys(SCENES, "feed")
    recent = calibrate_scene(config, "feed", days=2.3)
    assert all(result.n_rows < results[result.item_type].n_rows for result in recent)


def test_calibrate_command_prints_each_type_and_keeps_other_scenes(config, capsys):
    file = config.parent / "calibration.json"
    others = {"other": {"work": {"stage": "rank", "scale": 0.0, "bias": 0.0, "rate": 0.5}}}
    file.write_text(json.dumps(others))
    assert main(["calibrate", str(config), "--scene", "feed"]) == 0
    output = capsys.readouterr().out
    assert all(item_type in output for item_type in SCENES) and "calibration error" in output
    written = json.loads(file.read_text())
    assert written["other"] == others["other"] and written["feed"].keys() == SCENES.keys()


@pytest.mark.parametrize("text", ['{"feed":', "[1]", '{"other": 3}'])
def test_calibrate_replaces_a_damaged_file(config, text):
    (config.parent / "calibration.json").write_text(text)
    calibrate_scene(config, "feed")
    with karec.open(config, scene="feed").without_side_effects() as feed:
        assert {*feed.mix} == {*SCENES}


def test_calibrate_refuses_a_scene_without_mix_store_or_log(config, tmp_path):
    with pytest.raises(ConfigError, match="no table mix"):
        calibrate_scene(config, "home")
    text = config.read_text()
    path = tmp_path / "karec.toml"
    path.write_text(text.replace('url = "sqlite:online.db"', "").replace("[online]", ""))
    with pytest.raises(ConfigError, match=r"add a table \[online\]"):
        calibrate_scene(path, "feed")
    (tmp_path / "bundles").symlink_to(config.parent / "bundles")
    path.write_text(
        text.replace('{ use = "rank_log", folder = "rank_log" }', "").replace(
            "online.db", f"{config.parent}/online.db"
        )
    )
    with pytest.raises(ConfigError, match="no rank_log"):
        calibrate_scene(path, "feed")


def test_calibrate_refuses_a_scene_with_few_reported_pages(tmp_path):
    path = mixed_config(tmp_path, mix=PLAIN, calibrations=None)
    play(path, SCENES.values(), n_moments=2)
    path.write_text(path.read_text() + "\n[scenes.feed.mix]" + MIX_TABLE)
    with pytest.raises(DataError, match=r"item type 'work' in the scene 'feed'.*Log more pages"):
        calibrate_scene(path, "feed")
    assert not (tmp_path / "calibration.json").exists()
