"""``karec export events`` and ``karec export trees``. tests/config/test_host_stage covers stages."""

import time

import numpy as np
import onnx
import pytest
from live_bundle import live_config
from random_trees import random_tree, tree_node, write_model

from karec.cli import main
from karec.config import open_hot_swap
from karec.models.onnx_model import OnnxModel
from karec.online.event_files import EventFiles
from karec.online.read_log import EventSource, read_log
from karec.times import DAY_MS


@pytest.fixture
def config(tmp_path):
    """The karec.toml of a service with an event of now and one of three days ago."""
    path = live_config(tmp_path)
    now_ms = time.time_ns() // 1_000_000
    with open_hot_swap(path) as swap:
        item_id = int(swap.cascades["home"].bundle.snapshot.works.ids[0])
        for time_ms in (now_ms - 3 * DAY_MS, now_ms):
            swap.record([{"event": "block", "item_id": item_id, "time_ms": time_ms}], now_ms=time_ms)
    return path


def test_export_events_moves_days_that_are_complete(config, capsys):
    assert main(["export", "events", str(config)]) == 0
    events = str(config.parent / "events")
    assert f"1 events of 1 days moved to {events}" in capsys.readouterr().out
    url = f"sqlite:{config.parent / 'online.db'}"
    assert len(read_log(EventSource(url))[1]) == 1
    assert len(EventFiles(events).days()) == 1
    assert len(read_log(EventSource(url, events))[1]) == 2


@pytest.mark.parametrize(
    ("day", "message"),
    [("2099-01-01", "may still arrive. Export at most the days before"), ("today", "does not match")],
)
def test_export_events_refuses_a_wrong_day(config, capsys, day, message):
    assert main(["export", "events", str(config), "--before", day]) == 2
    assert message in capsys.readouterr().err


def test_export_trees_writes_the_file_and_names_trees_that_stay(tmp_path, capsys):
    small, large = (random_tree(np.random.default_rng(0), leaves, 4) for leaves in (5, 257))
    nodes = [tree_node([small], "dense", "small"), tree_node([large], "dense", "large")]
    nodes.append(onnx.helper.make_node("Add", ["small", "large"], ["logits"]))
    model = write_model(tmp_path / "own.onnx", nodes, {"dense": 4})
    assert main(["export", "trees", str(model)]) == 0
    remaining, written = capsys.readouterr().out.splitlines()
    assert remaining.endswith("large: a tree has 257 leaves, more than 256")
    assert written == f"{tmp_path / 'own.trees.npz'}: 1 trees"
    assert OnnxModel(model).trees == 1


def test_export_trees_removes_the_file_of_a_model_without_trees(tmp_path, capsys):
    trees = tmp_path / "own.trees.npz"
    node = onnx.helper.make_node("Abs", ["dense"], ["logits"])
    model = write_model(tmp_path / "own.onnx", [node], {"dense": 1})
    for outcome in ("nothing was written", f"{trees} was removed"):
        assert main(["export", "trees", str(model)]) == 2
        assert f"own.onnx has no trees that karec's library scores: {outcome}" in capsys.readouterr().err
        assert not trees.exists()
        trees.touch()


def test_export_trees_keeps_the_file_if_the_model_cannot_be_read(tmp_path, capsys):
    (tmp_path / "own.onnx").touch()
    (tmp_path / "own.trees.npz").touch()
    for name, message in (("own.onnx", "own.onnx is not an ONNX file"), ("missing.onnx", "missing.onnx")):
        assert main(["export", "trees", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "own.trees.npz").exists()
