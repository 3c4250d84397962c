"""Prices and logs of a scene that steers go on when its cascade is replaced while it serves."""

import shutil

import pyarrow.parquet
import pytest
from small_bundle import publish_small_bundle
from steered_scene import SCENE

from karec.config import load_cascade, open_hot_swap
from karec.pipeline.types import Request


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("steered")
    publish_small_bundle(root)
    return root


@pytest.fixture
def path(published, tmp_path):
    shutil.copytree(published / "bundles", tmp_path / "bundles", symlinks=True)
    (tmp_path / "karec.toml").write_text(SCENE)
    return tmp_path / "karec.toml"


def serve(cascade, now, asked):
    for i in asked:
        cascade.run(Request(i % 12, 4, time_ms=now + i, request_id=str(i)))


@pytest.mark.parametrize("state", ["", '\nstate = "prices.json"'])
def test_prices_go_on_and_no_feed_or_logged_row_is_lost_over_swaps(path, state):
    scene = SCENE.replace("\nexplore = 1", f"\nexplore = 1{state}")
    path.write_text(scene)
    with open_hot_swap(path) as live:
        now, asked = live.cascades["home"].bundle.snapshot.time_ms, 0
        for swap in range(4):
            serve(live, now, range(asked, asked + 17))
            asked += 17
            old = live.cascades["home"]
            for observer in old.side_effects:
                observer.flush()
            prices = old.exposure.kept()
            assert prices["feeds"] == asked
            path.write_text(f"# {swap}\n{scene}")
            assert live.reload()
            new = live.cascades["home"]
            assert new.exposure is not old.exposure
            assert new.exposure.kept() == prices
            before, after = old.exposure.newest, new.exposure.newest
            assert (after.groups == before.groups).all() and after.groups.any()
            assert set(after.behind.ids.tolist()) == set(before.behind.ids.tolist())
    log = pyarrow.parquet.read_table(path.parent / "rank_log")
    assert sorted(set(log["request_id"].to_pylist()), key=int) == [str(i) for i in range(asked)]
    assert len(log) == 16 * asked, "what prerank leaves is ranked and logged"


def test_what_the_old_cascade_shows_after_the_hand_over_is_counted_in_the_new_one(path):
    with load_cascade(path, "home") as old, load_cascade(path, "home") as new:
        now = old.bundle.snapshot.time_ms
        serve(old, now, range(15))
        old.side_effects[0].flush()
        old.exposure.hand_over(new.exposure)
        serve(old, now, range(15, 22))
        serve(new, now, range(22, 30))
        for cascade in (old, new):
            cascade.close()
        assert new.exposure.kept()["feeds"] == 30
        assert old.exposure.kept()["feeds"] == 15


def test_a_new_scene_with_other_constraints_goes_on_with_those_of_the_same_name(path):
    with open_hot_swap(path) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms
        serve(live, now, range(30))
        live.cascades["home"].side_effects[0].flush()
        before = live.cascades["home"].exposure.kept()
        path.write_text(SCENE.replace('share = { "2" = 0.6 }', 'share = { "2" = 0.6, "1" = 0.1 }'))
        assert live.reload()
        after = live.cascades["home"].exposure.kept()
        assert after["groups"]["tag 2"] == before["groups"]["tag 2"] and after["groups"].keys() > {"tag 2"}
        assert after["caps"] == before["caps"]


def test_a_scene_that_begins_to_steer_begins_with_prices_of_0(path):
    plain = SCENE.replace(', { use = "exposure_prices" }', "").replace(
        '{ use = "underexposed", quota = 4 }, ', ""
    )
    plain = plain.replace('    { use = "exposure" },\n', "").replace('{ use = "exposure" }, ', "")
    plain = plain.replace('{ use = "exposures" }, ', "")
    start, end = plain.index("[scenes.home.exposure]"), plain.index("[[scenes.home.stages]]")
    path.write_text(plain[:start] + plain[end:])
    with open_hot_swap(path) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms
        serve(live, now, range(5))
        path.write_text(SCENE)
        assert live.reload()
        assert live.cascades["home"].exposure.kept()["feeds"] == 0
