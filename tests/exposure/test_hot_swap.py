"""Hot swap of a scene with exposure control: its state continues, and no page is lost."""

import json
import shutil

import pyarrow.parquet
import pytest
from exposure_setup import SCENE, n_pages_of
from small_bundle import publish_small_bundle

from karec.config import load_cascade, open_hot_swap
from karec.pipeline.types import Request


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    publish_small_bundle(root)
    return root


@pytest.fixture
def path(published, tmp_path):
    shutil.copytree(published / "bundles", tmp_path / "bundles", symlinks=True)
    (tmp_path / "karec.toml").write_text(SCENE)
    return tmp_path / "karec.toml"


def serve(cascade, now, numbers):
    for i in numbers:
        cascade.run(Request(i % 12, 4, time_ms=now + i, request_id=str(i)))


def test_swap_continues_the_state_and_loses_no_page_or_logged_row(path):
    with open_hot_swap(path) as live:
        now, n_requests = live.cascades["home"].bundle.snapshot.time_ms, 0
        for swap in range(4):
            serve(live, now, range(n_requests, n_requests + 17))
            n_requests += 17
            old = live.cascades["home"]
            for queue in old.side_effects:
                queue.flush()
            saved = old.exposure.to_json()
            assert n_pages_of(old.exposure) == n_requests
            path.write_text(f"# {swap}\n{SCENE}")
            assert live.reload()
            new = live.cascades["home"]
            assert new.exposure is not old.exposure
            assert new.exposure.to_json() == saved
            before, after = old.exposure.newest, new.exposure.newest
            assert (after.group_values == before.group_values).all() and after.group_values.any()
            assert set(after.underexposed.ids.tolist()) == set(before.underexposed.ids.tolist())
    log = pyarrow.parquet.read_table(path.parent / "rank_log")
    assert sorted(set(log["request_id"].to_pylist()), key=int) == [str(i) for i in range(n_requests)]
    assert len(log) == 16 * n_requests, "what prerank leaves is ranked and logged"


def test_pages_of_the_old_cascade_after_transfer_count_in_the_new_one(path):
    with load_cascade(path, "home") as old, load_cascade(path, "home") as new:
        now = old.bundle.snapshot.time_ms
        serve(old, now, range(15))
        old.side_effects[0].flush()
        old.exposure.transfer_to(new.exposure)
        serve(old, now, range(15, 22))
        serve(new, now, range(22, 30))
        for cascade in (old, new):
            cascade.close()
        assert n_pages_of(new.exposure) == 30
        assert n_pages_of(old.exposure) == 15


def test_swap_continues_constraints_of_the_same_name(path):
    with open_hot_swap(path) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms
        serve(live, now, range(30))
        live.cascades["home"].side_effects[0].flush()
        before = json.loads(live.cascades["home"].exposure.to_json())
        path.write_text(SCENE.replace('share = { "2" = 0.6 }', 'share = { "2" = 0.6, "1" = 0.1 }'))
        assert live.reload()
        after = json.loads(live.cascades["home"].exposure.to_json())
        assert after["targets"]["tag 2"] == before["targets"]["tag 2"]
        assert after["targets"].keys() > {"tag 2"}
        assert after["caps"] == before["caps"]


def test_scene_that_gets_a_table_exposure_starts_with_dual_variables_of_0(path):
    start, end = SCENE.index("[scenes.home.exposure]"), SCENE.index("[[scenes.home.stages]]")
    path.write_text(SCENE[:start] + SCENE[end:])
    with open_hot_swap(path) as live:
        now = live.cascades["home"].bundle.snapshot.time_ms
        serve(live, now, range(5))
        path.write_text(SCENE)
        assert live.reload()
        assert n_pages_of(live.cascades["home"].exposure) == 0


def test_services_on_one_online_store_share_their_counters_over_swaps(path):
    scene = f'{SCENE}\n[online]\nurl = "sqlite:online.db"\n'
    path.write_text(scene)
    with open_hot_swap(path) as first, open_hot_swap(path) as second:
        now = first.cascades["home"].bundle.snapshot.time_ms
        serve(first, now, range(17))
        path.write_text(f"# 1\n{scene}")
        assert first.reload()
        serve(first, now, range(17, 30))
        serve(second, now, range(30, 43))
        controllers = [service.cascades["home"].exposure for service in (first, second)]
        for _ in range(2):
            for service, controller in zip((first, second), controllers, strict=True):
                service.cascades["home"].side_effects[0].flush()
                controller.merge()
        assert [n_pages_of(controller) for controller in controllers] == [43, 43]
        values = [controller.newest.group_values.tolist() for controller in controllers]
        assert values[0] == values[1] and any(values[0])
