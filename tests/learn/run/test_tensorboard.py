"""Tests that TensorBoard's event files equal run.json, also for a killed and resumed run."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import small_dataset
from small_settings import SMALL
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from karec.errors import MissingExtra
from karec.learn.fit.loop import Epoch, FitState
from karec.learn.run.tensorboard import EventFiles
from karec.learn.run.train import train
from karec.learn.settings.check import fingerprint

SETTINGS = SMALL.replace(run={"checkpoint_steps": 4, "tensorboard": True})
IN_RUN_JSON = {"ranker": "mmoe", "baseline_lr": "lr", "towers": "towers"}


def read(folder):
    """{tag: [(step, value)]} of everything in the folder's event files."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
    }


def as_written(points):
    return [(step, float(np.float32(value))) for step, value in points]


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    return train(dataset, SETTINGS, tmp_path_factory.mktemp("run")).folder


def test_event_files_equal_the_curves_in_run_json(run):
    facts = json.loads((run / "run.json").read_text())
    assert {folder.name for folder in (run / "tensorboard").iterdir()} == set(IN_RUN_JSON)
    for folder, name in IN_RUN_JSON.items():
        epochs = list(enumerate(facts["epochs"][name], 1))
        assert facts["curves"][name] and epochs
        assert read(run / "tensorboard" / folder) == {
            "loss": as_written(facts["curves"][name]),
            "epoch/loss": as_written([(at, epoch["loss"]) for at, epoch in epochs]),
            "epoch/score": as_written([(at, epoch["score"]) for at, epoch in epochs]),
        }


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {folders!r}
from small_dataset import make_dataset
from test_tensorboard import SETTINGS
from karec.learn.run.train import train

def progress(done, total, what):
    if (done, what) == (7, {where!r}):
        os.kill(os.getpid(), signal.SIGKILL)

train(make_dataset(), SETTINGS, Path({out!r}), progress)
"""


@pytest.mark.long
@pytest.mark.parametrize(("where", "training"), [("the ranker", "ranker"), ("the towers", "towers")])
def test_event_files_of_a_resumed_run_equal_those_of_a_whole_run(dataset, run, tmp_path, where, training):
    folders = [os.path.dirname(path) for path in (small_dataset.__file__, __file__)]
    script = KILLED.format(folders=folders, out=str(tmp_path), where=f"training {where}")
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = read(tmp_path / "tensorboard" / training)["loss"]
    assert [step for step, _ in left] == list(range(7)), (
        "the last checkpoint, after step 3, is behind what was written"
    )
    train(dataset, SETTINGS, tmp_path, resume=True)
    for name in IN_RUN_JSON:
        assert read(tmp_path / "tensorboard" / name) == read(run / "tensorboard" / name), name


@pytest.mark.long
def test_run_without_event_files_may_be_resumed_with_them(dataset, run, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, what):
        if (done, what) == (9, "training the towers"):
            raise Stopped

    with pytest.raises(Stopped):
        train(dataset, SETTINGS.replace(run={"tensorboard": False}), tmp_path, stop)
    assert not (tmp_path / "tensorboard").exists()
    train(dataset, SETTINGS, tmp_path, resume=True)
    for name in IN_RUN_JSON:
        assert read(tmp_path / "tensorboard" / name) == read(run / "tensorboard" / name), name


def test_fingerprint_does_not_depend_on_the_tensorboard_setting(dataset):
    without = fingerprint(dataset, SETTINGS.replace(run={"tensorboard": False}))
    assert fingerprint(dataset, SETTINGS) == without
    assert fingerprint(dataset, SETTINGS.replace(seed=1)) != without


def test_event_files_can_be_read_before_they_are_closed(tmp_path):
    """A training that diverges never closes its files."""
    tell = EventFiles(tmp_path).writer("towers")
    at = FitState(curve=[(0, 0.5)])
    for step in (1, 2):
        at.curve.append((step, 0.25))
        tell(at)
    at.history.append(Epoch(0.375, 0.75))
    tell(at)
    told = {"loss": [(0, 0.5), (1, 0.25), (2, 0.25)], "epoch/loss": [(1, 0.375)], "epoch/score": [(1, 0.75)]}
    assert read(tmp_path / "towers") == told


def test_event_files_of_a_killed_run_are_written_again(tmp_path):
    """Files with steps that the checkpoint lacks, and half a record, after which no reader continues."""
    with EventFiles(tmp_path) as files:
        files.writer("towers")(FitState(curve=[(0, 0.5), (1, 0.25), (2, 0.75)], history=[Epoch(0.5, 0.5)]))
    (left,) = (tmp_path / "towers").iterdir()
    os.truncate(left, left.stat().st_size - 3)
    with EventFiles(tmp_path) as files:
        files.writer("towers")(FitState(curve=[(0, 0.5), (1, 0.25)], history=[Epoch(0.5, 0.5)]))
    assert len(list((tmp_path / "towers").iterdir())) == 1
    told = {"loss": [(0, 0.5), (1, 0.25)], "epoch/loss": [(1, 0.5)], "epoch/score": [(1, 0.5)]}
    assert read(tmp_path / "towers") == told


def test_event_files_of_an_earlier_run_are_removed_by_a_new_run(dataset, tmp_path):
    (tmp_path / "tensorboard" / "hard").mkdir(parents=True)
    quick = SETTINGS.replace(
        ranker={"epochs": 1},
        towers={"epochs": 1},
        evaluation={"baselines": ()},
        run={"tensorboard": False},
    )
    train(dataset, quick, tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_missing_tensorboard_is_named_before_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # what an import then finds is nothing
    for name in ("torch.utils.tensorboard", "torch.utils.tensorboard.writer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    told = []
    with pytest.raises(
        MissingExtra,
        match=r"run.tensorboard = true needs .* pip install "
        r"'karec\[tensorboard\]'",
    ):
        train(dataset, SETTINGS, tmp_path / "run", lambda *step: told.append(step))
    assert not told and not (tmp_path / "run").exists()
