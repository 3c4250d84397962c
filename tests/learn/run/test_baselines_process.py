"""Baselines trained in a second process equal those trained in turn."""

import onnx
import pytest

from karec.learn._torch import torch
from karec.learn.fit.checkpoint import CheckpointError, best_weights
from karec.learn.fit.prepare import prepare
from karec.learn.run import baselines
from karec.learn.run.baselines import Baselines, baseline_names, parallel_threads, train_baselines
from karec.learn.run.run_folder import recordings
from karec.learn.second_process import SecondProcess
from karec.learn.settings.settings import EvaluationSettings, RankerSettings, RunSettings, TrainSettings

NAMES = ("lr", "hard")


@pytest.fixture
def settings(dataset):
    built_in = TrainSettings(run=RunSettings(threads=2), evaluation=EvaluationSettings(baselines=NAMES))
    return built_in.replace(towers={"epochs": 1}).resolve(dataset)


def graph_of(path):
    """Returns the operators of a model and the bytes of its weights."""
    graph = onnx.load(path).graph
    weights = sorted(onnx.numpy_helper.to_array(weight).tobytes() for weight in graph.initializer)
    return [node.op_type for node in graph.node], weights


@pytest.mark.long
def test_baselines_of_second_process_equal_baselines_in_turn(dataset, settings, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    prepared = prepare(dataset, settings, alone)
    prepare(dataset, settings, together)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        states = train_baselines(prepared, settings, alone, recordings(alone, settings, "these", None))
    finally:
        torch.set_num_threads(threads)
    said = []
    with SecondProcess(
        Baselines(dataset, settings, together, "these", 1), lambda *what: said.append(what)
    ) as training:
        found = training.result()
    assert tuple(found) == tuple(states) == NAMES
    assert said[-1] == (said[-1][1], said[-1][1], "training hard towers")
    for name in NAMES:
        assert found[name].history == states[name].history and found[name].done
        weights, theirs = (best_weights(f / "checkpoints" / f"baseline_{name}.pt") for f in (alone, together))
        assert weights.keys() == theirs.keys() and all(
            torch.equal(weights[key], theirs[key]) for key in weights
        )
        # Their bytes differ: tests share an exported graph, a second process exports its own.
        assert graph_of(alone / f"baseline_{name}.onnx") == graph_of(together / f"baseline_{name}.onnx")


def test_second_process_raises_error_of_training(dataset, settings, tmp_path):
    prepare(dataset, settings, tmp_path)
    left = tmp_path / "checkpoints" / "baseline_hard.pt"
    left.parent.mkdir()
    left.write_bytes(b"cut short")
    with (
        SecondProcess(Baselines(dataset, settings, tmp_path, "these", 1)) as training,
        pytest.raises(CheckpointError, match=r"baseline_hard\.pt: not a checkpoint"),
    ):
        training.result()


def test_baseline_that_is_part_of_the_ranker_is_trained_once(settings):
    wanted = settings.replace(evaluation=EvaluationSettings(baselines=("lr", "lightgbm", "hard")))
    kinds = {"mmoe": ("lr", "lightgbm", "hard"), "lr": ("lightgbm", "hard"), "both": NAMES, "lightgbm": NAMES}
    assert kinds == {kind: baseline_names(wanted.replace(ranker=RankerSettings(kind=kind))) for kind in kinds}


def test_each_process_gets_half_of_the_threads_if_rows_are_many(settings, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    many = baselines.MIN_PARALLEL_ROWS
    assert parallel_threads(settings, many) == 1
    assert parallel_threads(settings, many - 1) == 0
    assert parallel_threads(settings.replace(run=RunSettings(threads=1)), many) == 0, (
        "one thread was asked for"
    )
    assert parallel_threads(settings.replace(run=RunSettings(threads=9)), many) == 4
    without = settings.replace(evaluation=EvaluationSettings(baselines=("lr",)))
    assert parallel_threads(without, many) == 0
