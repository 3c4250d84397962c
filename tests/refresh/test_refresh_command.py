"""Tests of ``karec refresh`` and of its state in ``karec inspect``."""

import shutil

import numpy as np
import pytest
from live_bundle import live_config, without_online

from karec.bundle import Bundle
from karec.cli import main
from karec.config import open_hot_swap
from karec.config.online import open_counters
from karec.config.scenes import Config
from karec.refresh.library_state import library_state
from karec.refresh.next_version import publish_next_version
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import list_shards


@pytest.fixture
def root(published, tmp_path):
    shutil.copytree(published[0].path.parent, tmp_path / "bundles", symlinks=True)
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    return tmp_path / "bundles"


@pytest.fixture
def config(root):
    """Path of a karec.toml without an online store."""
    return str(root.parent / "karec.toml")


def test_refresh_once_moves_the_library_to_the_next_version(root, config, published, capsys):
    publish_next_version(published[1], published[0].snapshot, root, sample=10)
    assert main(["inspect", str(root)]) == 0
    assert "1: 30, 2: 10" in capsys.readouterr().out
    assert main(["refresh", config, "--once", "--share", "1"]) == 0
    output = capsys.readouterr().out
    assert "1, 40 of 40 works (100%)" in output and "2: 40" in output
    assert library_state(Bundle.open(root, verify=False), 0).rows == {2: 40}


def test_training_is_refused_while_a_refresh_is_unfinished(root, published, capsys):
    publish_next_version(published[1], published[0].snapshot, root, sample=10)
    assert main(["train", "world", "--out", str(root.parent), "--log", "nowhere", "--rolling"]) == 2
    assert "Let karec refresh finish its round before publishing another version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (["--share", "0"], "share is 0, expected a fraction of a core above 0 and at most 1"),
        (["--share", "nan"], "share is nan, expected a fraction of a core"),
    ],
)
def test_refresh_names_wrong_options_in_one_line(config, capsys, options, output):
    assert main(["refresh", config, "--once", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("karec refresh: ") and output in error and error.count("\n") == 1


def test_refresh_refuses_a_config_without_bundles(tmp_path, capsys):
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    for path in (tmp_path / "karec.toml", tmp_path / "absent.toml"):
        assert main(["refresh", str(path), "--once"]) == 2
        assert str(tmp_path) in capsys.readouterr().err


def test_refreshed_vectors_use_counters_of_the_online_store(tmp_path):
    config = live_config(tmp_path / "demo")
    live = open_hot_swap(config)
    bundle = live.cascades["home"].bundle
    user, work, now = (
        int(bundle.snapshot.users.ids[0]),
        int(bundle.snapshot.works.ids[3]),
        bundle.snapshot.time_ms + 1,
    )
    row = {
        "event": "impression",
        "user_id": user,
        "item_id": work,
        "scene": "home",
        "position": 0,
        "labels": ["click"],
    }
    assert live.record([row] * 3, now_ms=now).events == 3
    live.close()
    names, at = bundle.encoder.works.counters, bundle.snapshot.works.lookup(np.array([work]))
    before = np.array([bundle.snapshot.works[name][at[0]] for name in names])
    for moment in (now, now + 1):  # round after round, in one process
        with open_counters(Config.read(config), bundle) as counts, open_refresh(bundle, counts) as refresh:
            counted = counts(np.array([work]))
            refresh.run(refresh.start_round(moment, 40))
            shard, _ = list_shards(refresh.library)
    assert dict(zip(names, counted[0] - before, strict=True))["count_exposed"] == 3
    index = shard.index("index.karec")
    items = bundle.encoder.encode_items(bundle.snapshot, at, now + 1, counted)
    expected = bundle.item_tower.run(items, "item_vector")[0].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(index.embeddings(index.lookup([work])), expected)


@pytest.mark.parametrize("has_store", [False, True])
def test_refresh_reads_no_counters_without_a_store_of_many_processes(tmp_path, has_store):
    config = live_config(tmp_path / "demo", url="sqlite::memory:")
    if not has_store:
        without_online(config)
    bundle = Bundle.open(tmp_path / "demo" / "bundles", verify=False)
    with open_counters(Config.read(config), bundle) as counts:
        assert counts is None
