"""Hard towers in a process beside the ranker: the same as alone, and what goes wrong there is told here."""

from dataclasses import replace

import pytest

from karec.errors import KarecError
from karec.learn._torch import torch
from karec.learn.fit.checkpoint import CheckpointError, best_weights
from karec.learn.fit.prepare import prepare
from karec.learn.run import beside
from karec.learn.run.beside import HardTowersBeside, threads_beside
from karec.learn.run.hard_towers import train_hard_towers
from karec.learn.run.run_folder import recordings
from karec.learn.settings.sections import EvaluationSettings, RunSettings
from karec.learn.settings.train import TrainSettings


@pytest.fixture
def settings(dataset):
    built_in = TrainSettings(run=RunSettings(threads=2), evaluation=EvaluationSettings(baselines=("hard",)))
    return replace(built_in, towers=replace(built_in.towers, epochs=1)).of(dataset)


def test_the_towers_are_those_that_are_trained_in_turn_with_as_many_threads(dataset, settings, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    prepared = prepare(dataset, settings, alone)
    prepare(dataset, settings, together)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        recording = recordings(alone, settings, "these", None)("baseline_hard")
        state = train_hard_towers(prepared, settings, alone / "baseline_hard.onnx", recording=recording)
    finally:
        torch.set_num_threads(threads)
    said = []
    with HardTowersBeside(dataset, settings, together, "these", 1, lambda *what: said.append(what)) as training:
        found = training.result()
    assert found.history == state.history and found.done
    assert said[-1] == (said[-1][1], said[-1][1], "training hard towers")
    weights, theirs = (best_weights(f / "checkpoints" / "baseline_hard.pt") for f in (alone, together))
    assert weights.keys() == theirs.keys() and all(torch.equal(weights[name], theirs[name]) for name in weights)
    assert (alone / "baseline_hard.onnx").read_bytes() == (together / "baseline_hard.onnx").read_bytes()


def test_what_ends_the_training_there_is_raised_here(dataset, settings, tmp_path):
    prepare(dataset, settings, tmp_path)
    left = tmp_path / "checkpoints" / "baseline_hard.pt"
    left.parent.mkdir()
    left.write_bytes(b"cut short")
    with (
        HardTowersBeside(dataset, settings, tmp_path, "these", 1) as training,
        pytest.raises(CheckpointError, match=r"baseline_hard\.pt is not a checkpoint"),
    ):
        training.result()


def test_a_process_that_dies_is_told_of(dataset, settings, tmp_path):
    prepare(dataset, settings, tmp_path)

    def kill(*_):
        training._child.kill()

    with (
        HardTowersBeside(dataset, settings, tmp_path, "these", 1, kill) as training,
        pytest.raises(KarecError, match="ended with status -9"),
    ):
        training.result()


HALF_A_MESSAGE = """
import os, pickle, sys
os.write(int(sys.argv[1]), pickle.dumps(("done", [0] * 1000))[:500])
sys.exit("no room")
"""


def test_a_process_that_dies_in_the_middle_of_a_message_is_told_of(dataset, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "PROGRAM", HALF_A_MESSAGE)
    with (
        HardTowersBeside(dataset, settings, tmp_path, "these", 1) as training,
        pytest.raises(KarecError, match="ended with status 1: no room"),
    ):
        training.result()


def test_who_leaves_early_ends_the_process(dataset, settings, tmp_path):
    prepare(dataset, settings, tmp_path)
    with pytest.raises(LookupError), HardTowersBeside(dataset, settings, tmp_path, "these", 1) as training:
        raise LookupError
    assert training._child.poll() is not None


def test_each_training_has_half_of_the_threads_where_there_are_many_rows(settings):
    many = beside.FEWEST_ROWS
    assert threads_beside(settings, many) == 1
    assert threads_beside(settings, many - 1) == 0
    assert threads_beside(replace(settings, run=RunSettings(threads=1)), many) == 0, "one thread was asked for"
    assert threads_beside(replace(settings, run=RunSettings(threads=9)), many) == 4
    without = replace(settings, evaluation=EvaluationSettings(baselines=("lr",)))
    assert threads_beside(without, many) == 0
