"""HotSwap replaces bundle and karec.toml while requests run."""

import gc
import logging
import re
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from harmful_models import CRASHING, constant, crashing, write_damaged
from live_bundle import live_config
from living_scenes import HELD, LONG, TEXT, Gate, PageRecorder, make_config, publish_works, version_of
from small_bundle import write_next_run

import karec
from karec.bundle import make_current
from karec.config import open_hot_swap
from karec.errors import BundleError, ConfigError
from karec.pipeline.types import Request
from karec.refresh.publish_run import publish


@pytest.fixture
def path(tmp_path, platform):
    return make_config(tmp_path, platform)


@pytest.fixture
def live(path):
    with open_hot_swap(path) as live:
        yield live
        Gate.open.set()


@pytest.fixture
def publish_next(path, platform):
    """Publishes a version with what ``damage`` does to its folder."""
    return lambda version, **damage: publish_works(path.parent / "bundles", platform, version, **damage)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool
        Gate.open.set()


def ask(live, user=1, **options):
    return version_of(live.run(Request(user, 5, **options)))


def wait_for_version(live, version, reloaded, **options):
    """Runs requests until ``version`` serves them; fails if the reload fails."""
    while ask(live, **options) != version:
        assert not reloaded.done() or reloaded.result()


def test_each_page_is_of_one_bundle_during_eight_reloads(live, publish_next, path, pool):
    publish_next(8)
    ended, answered = threading.Event(), threading.Semaphore(0)

    def serve():
        versions = []
        while not ended.is_set():
            versions.append(ask(live))
            answered.release()
        return versions

    served = [pool.submit(serve) for _ in range(4)]
    for swap in range(8):
        make_current(path.parent / "bundles", 8 - swap % 2)
        assert live.reload()
        for _ in range(8):
            assert answered.acquire(timeout=LONG)
    ended.set()
    versions = [version for entry in served for version in entry.result(LONG)]
    assert set(versions) == {7, 8}
    assert live.reloads == type(live.reloads)(done=8)
    assert max(Gate.built) == 2


def test_running_request_ends_on_the_bundle_of_its_start(live, publish_next, pool):
    held = pool.submit(ask, live, HELD)
    assert Gate.arrived.wait(LONG)
    publish_next(8)
    reloaded = pool.submit(live.reload)
    wait_for_version(live, 8, reloaded)
    assert not held.done() and not reloaded.done()
    Gate.open.set()
    assert held.result(LONG) == 7 and reloaded.result(LONG) is True


def test_reload_closes_side_effects_after_the_last_page(live, publish_next, pool):
    held = pool.submit(ask, live, HELD, request_id="last")
    assert Gate.arrived.wait(LONG)
    publish_next(8)
    reloaded = pool.submit(live.reload)
    wait_for_version(live, 8, reloaded, request_id="next")
    assert (7, "closed") not in PageRecorder.records
    Gate.open.set()
    assert reloaded.result(LONG)
    assert held.result(LONG) == 7
    of_version_7 = [text for version, text in PageRecorder.records if version == 7]
    assert of_version_7[-2:] == ["last", "closed"]
    (counts,) = live.close()
    assert (8, "closed") in PageRecorder.records and counts.dropped == counts.failed == 0


def test_reload_without_change_returns_false(live):
    before = live.cascades
    assert live.reload() is False
    assert live.cascades is before


def flip_bit(name):
    def damage(folder):
        path = folder / name
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return damage


def test_reload_refuses_damaged_bundle_until_a_good_one_is_published(live, publish_next):
    flip_bit("index.karec")(publish_next(8))
    for refused in (1, 2):
        with pytest.raises(BundleError, match=r"v0000000008.index\.karec") as error:
            live.reload()
        assert live.reloads == type(live.reloads)(0, refused, str(error.value))
        assert ask(live) == 7
    publish_next(9)
    assert live.reload() and ask(live) == 9
    assert (live.reloads.done, live.reloads.refused) == (1, 2)


def test_reload_refuses_model_that_ends_its_process(live, publish_next):
    def crash(folder):
        constants = constant(1, 10) | CRASHING
        write_damaged(
            folder / "user_tower.onnx",
            crashing("user_vector"),
            "user_vector",
            version=8,
            constants=constants,
            n=10,
        )

    publish_next(8, damage=crash)
    with pytest.raises(BundleError, match=r"user_tower\.onnx ends the process in a smoke run by SIGFPE"):
        live.reload()
    assert ask(live) == 7


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (
            "fails_on",
            "v0000000008: a request of the scene 'home' .* fails: Unavailable: this version does not serve",
        ),
        (
            "drops_on",
            "v0000000008: a request of the scene 'home' that was answered with works before gets none",
        ),
    ],
)
def test_reload_refuses_bundle_that_fails_served_requests(live, publish_next, path, setting, why):
    path.write_text(
        TEXT.replace('{ use = "living_scenes:Gate" }', f'{{ use = "living_scenes:Gate", {setting} = 8 }}')
    )
    assert live.reload()
    publish_next(8)
    ask(live, request_id="sampled")
    with pytest.raises(BundleError, match=why):
        live.reload()
    assert ask(live) == 7
    live.close()
    assert (8, "sampled") not in PageRecorder.records


def test_reload_does_not_repeat_requests_that_name_items(live, publish_next, path):
    """The new version may lack these items."""
    path.write_text(
        TEXT.replace('{ use = "living_scenes:Gate" }', '{ use = "living_scenes:Gate", drops_on = 8 }')
    )
    assert live.reload()
    publish_next(8)
    assert len(live.run(Request(1, 5, item_ids=(700,))).candidates)
    assert live.reload()


def test_reload_of_karec_toml_keeps_blocked_items_of_the_bundle(live, path):
    live.cascades["home"].bundle.index.block([700])
    bundle = live.cascades["home"].bundle
    path.write_text(TEXT.replace("recall = 8", "recall = 3"))
    assert live.reload()
    assert live.cascades["home"].bundle is bundle
    assert len(live.run(Request(1, 5)).candidates) == 3
    assert (
        live.cascades["home"].bundle.index.search(np.ones(10, np.float32), ids=[700, 701], k=2).n_blocked == 1
    )


def test_new_version_takes_over_the_run_times(live, publish_next):
    before = live.cascades["home"]
    for _ in range(20):
        before.run_times.add("rank", 300.0)
    publish_next(8)
    assert live.reload()
    now = live.cascades["home"]
    assert now is not before and now.run_times.p90_ms("rank") == 300.0
    for _ in range(300):
        now.run_times.add("rank", 3.0)
    assert (now.run_times.p90_ms("rank"), before.run_times.p90_ms("rank")) == (3.0, 300.0)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("quota = 8", "quotas = 8", "quota"),
        ("[scenes.home]", "[scenes.other]", "no scene 'home'"),
        ("limits", "= limits", "karec.toml"),
    ],
)
def test_reload_refuses_wrong_karec_toml(live, path, before, after, why):
    path.write_text(TEXT.replace(before, after))
    with pytest.raises(ConfigError, match=why):
        live.reload()
    assert ask(live) == 7 and live.reloads.refused == 1
    path.write_text(TEXT)
    assert live.reload() is False


def test_reload_frees_replaced_bundle(live, publish_next):
    publish_next(8)
    ask(live)
    old = weakref.ref(live.cascades["home"].bundle)
    assert live.reload()
    assert old() is None


SIDE_EFFECTS = """
side_effects = [
    { use = "rank_log", folder = "log" },
    { use = "shadow", folder = "log", share = 1.0 },
]

[scenes.city]"""


def test_reload_frees_all_parts_of_a_service_with_store_and_logs(tmp_path):
    """Without the garbage collector, which may run minutes later."""
    path = live_config(tmp_path)
    path.write_text(path.read_text().replace("[scenes.city]", SIDE_EFFECTS))
    with open_hot_swap(path) as live:
        for user in range(1, 6):
            live.run(Request(user, 10))
        bundle = live.cascades["home"].bundle
        parts = {
            name: weakref.ref(getattr(bundle, name)) for name in ("index", "snapshot", "encoder", "ranker")
        }
        publish(write_next_run(bundle, tmp_path / "next"), bundle.snapshot, tmp_path / "bundles")
        del bundle
        gc.disable()
        try:
            assert live.reload()
            assert [name for name, part in parts.items() if part() is not None] == []
        finally:
            gc.enable()


def test_swap_is_logged_with_both_versions_and_its_time(live, publish_next, caplog):
    with caplog.at_level(logging.INFO, "karec.bundle"):
        publish_next(8)
        assert live.reload()
        assert not live.reload()
    (message,) = [record.getMessage() for record in caplog.records if record.name == "karec.bundle"]
    assert re.fullmatch(
        r"bundle v0000000008 \(model 8\) is in service after \d+\.\d s, in place of v0000000007 \(model 7\)",
        message,
    )


def test_refused_bundle_is_freed_if_the_error_is_kept(live, publish_next, path):
    path.write_text(
        TEXT.replace('{ use = "living_scenes:Gate" }', '{ use = "living_scenes:Gate", fails_on = 8 }')
    )
    assert live.reload()
    ask(live)
    publish_next(8)
    with pytest.raises(BundleError) as kept:
        live.reload()
    assert kept.value and len(Gate.alive) == 1


def test_third_version_opens_after_the_first_is_closed(live, publish_next, pool):
    held = pool.submit(ask, live, HELD)
    assert Gate.arrived.wait(LONG)
    publish_next(8)
    reloads = [pool.submit(live.reload)]
    wait_for_version(live, 8, reloads[0])
    publish_next(9)
    reloads += [pool.submit(live.reload) for _ in range(3)]
    for _ in range(50):
        assert ask(live) == 8
    Gate.open.set()
    assert held.result(LONG) == 7
    assert sorted(entry.result(LONG) for entry in reloads) == [False, False, True, True]
    assert ask(live) == 9 and max(Gate.built) == 2


def test_stored_error_of_a_request_does_not_delay_reload(live, publish_next):
    with pytest.raises(ValueError, match="'other', expected one of \\['home'\\]") as kept:
        live.run(Request(1, 5, scene="other"))
    publish_next(8)
    assert live.reload() and kept.value


def test_stored_frame_that_holds_its_version_does_not_delay_reload(live, publish_next, pool):
    version = live._serving  # as a profiler or a debugger holds it
    publish_next(8)
    assert pool.submit(live.reload).result(LONG) is True
    assert [cascade.scene for cascade in version.cascades.values()] == ["home"]
    assert (7, "closed") in PageRecorder.records


@pytest.mark.parametrize("interval_s", [0.005, 0.0001])
def test_reload_restores_switch_interval(live, publish_next, interval_s):
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval_s)
    try:
        expected = sys.getswitchinterval()
        publish_next(8)
        assert live.reload()
        assert sys.getswitchinterval() == expected
    finally:
        sys.setswitchinterval(before)


def test_open_with_reload_follows_the_published_bundle(path, publish_next):
    with karec.open(path, reload=True) as cascade:
        assert ask(cascade) == 7
        publish_next(8)
        while ask(cascade) != 8:
            assert cascade.reloads.refused == 0


def test_open_returns_one_cascade_without_reload(path, publish_next):
    with karec.open(path, scene="live") as cascade:
        publish_next(8)
        assert ask(cascade, scene="live") == 7
    with pytest.raises(ValueError, match="scene is None, expected the name of a scene"):
        karec.open(path, scene=None)


def test_scenes_change_together_and_share_one_bundle(path, publish_next):
    with open_hot_swap(path, scene=None) as live:
        assert [ask(live, scene=scene) for scene in ("home", "live")] == [7, 7]
        publish_next(8)
        assert live.reload()
        assert [ask(live, scene=scene) for scene in ("home", "live")] == [8, 8]
        home, other = live.cascades.values()
        assert home.bundle is other.bundle
        path.write_text(TEXT + '[scenes.city]\ninherits = "home"\n')
        assert live.reload() and ask(live, scene="city") == 8


def test_close_frees_bundle_and_refuses_later_calls(path):
    live = open_hot_swap(path)
    ask(live)
    bundle = weakref.ref(live.cascades["home"].bundle)
    (counts,) = live.close()
    assert (counts.name, counts.done) == ("PageRecorder", 1)
    assert bundle() is None and live.close() == ()
    for call in (lambda: ask(live), live.reload, lambda: live.cascades):
        with pytest.raises(ValueError, match="this HotSwap is closed"):
            call()


@pytest.mark.parametrize("seconds", [0, -1, 1e300, float("inf"), float("nan")])
def test_watch_seconds_must_be_above_0(path, seconds):
    with pytest.raises(ValueError, match=r"watch_seconds = .*, expected a time above 0, or None"):
        open_hot_swap(path, watch_seconds=seconds)
