"""`karec train --workers`: the same result from several processes, also after one was killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from own_files import shop_rows, write_shop

from karec import cli
from karec.bundle import Bundle
from karec.models.onnx_model import OnnxModel

SETTINGS = """
features = { dim = 4, min_count = 2, history_length = 5 }
optimizer.batch_size = 32
ranker = { kind = "mmoe", epochs = 1, hidden = 8, experts = 2, members = 1 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = ["lr"], resamples = 20 }
run = { checkpoint_steps = 1, sharded_rows = 8, final_fit = false }
"""


@pytest.fixture
def shop(tmp_path):
    write_shop(tmp_path / "shop", shop_rows(600))
    (tmp_path / "train.toml").write_text(SETTINGS)
    return tmp_path


def command(folder, out, *options):
    paths = [str(folder / "shop"), "--out", str(folder / out), "--settings", str(folder / "train.toml")]
    return ["train", *paths, *options]


def start(folder, out, *options):
    words = [sys.executable, "-m", "karec.cli", *command(folder, out, *options)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_choice_of_settings_with_workers_is_refused(shop, capsys):
    assert cli.main(command(shop, "out", "--choose", "1", "--workers", "2")) == 2
    assert "--choose runs in one process" in capsys.readouterr().err


def test_address_without_an_engine_is_refused(shop, capsys):
    assert cli.main(command(shop, "out", "--address", "auto")) == 2
    assert "--address needs --engine ray" in capsys.readouterr().err


def start_until_towers(folder, out):
    """Returns a training of two ranks that has a checkpoint of its towers."""
    training = start(folder, out, "--workers", "2")
    while not (folder / out / "run" / "checkpoints" / "towers" / "current").exists():
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with {training.wait(0.005)}: {training.stderr.read()}")
    return training


@pytest.mark.long
def test_workers_end_if_their_launcher_is_killed(shop):
    training = start_until_towers(shop, "out")
    training.kill()
    training.communicate()  # until the last worker closes its output
    assert not (shop / "out" / "run" / "run.json").exists()


@pytest.mark.long
def test_training_with_a_killed_worker_resumes_with_the_same_models(shop):
    whole = start(shop, "whole", "--workers", "2")
    assert whole.wait() == 0, whole.stderr.read()
    killed = start_until_towers(shop, "killed")
    os.kill(ranks_of(killed.pid)[1], signal.SIGKILL)
    assert killed.wait() == 2
    assert "rank 1 was killed" in killed.stderr.read()
    resumed = start(shop, "killed", "--workers", "2", "--resume")
    assert resumed.wait() == 0, resumed.stderr.read()
    for name in ("ranker", "user_tower", "item_tower"):
        models = [(shop / out / "run" / f"{name}.onnx").read_bytes() for out in ("whole", "killed")]
        assert models[0] == models[1], name
    assert Bundle.open(shop / "killed" / "bundles").model_version == 1
    facts = json.loads((shop / "killed" / "run" / "run.json").read_text())
    assert set(facts["epochs"]) == {"mmoe", "lr", "towers"}


@pytest.mark.long
def test_training_of_three_workers_resumes_with_one(shop):
    assert start(shop, "out", "--workers", "3").wait() == 0
    before = OnnxModel(shop / "out" / "run" / "ranker.onnx").fingerprint  # of the graph, without the version
    resumed = start(shop, "out", "--workers", "1", "--resume")
    assert resumed.wait() == 0, resumed.stderr.read()
    assert OnnxModel(shop / "out" / "run" / "ranker.onnx").fingerprint == before


@pytest.mark.long
def test_training_by_ray_has_the_models_of_torchrun(shop):
    assert start(shop, "torchrun", "--workers", "2").wait() == 0
    by_ray = start(shop, "ray", "--workers", "2", "--engine", "ray")
    output, errors = by_ray.communicate()
    assert by_ray.returncode == 0, output + errors
    for name in ("ranker", "user_tower", "item_tower"):
        models = [(shop / out / "run" / f"{name}.onnx").read_bytes() for out in ("torchrun", "ray")]
        assert models[0] == models[1], name
    curves = [
        json.loads((shop / out / "run" / "run.json").read_text())["epochs"] for out in ("torchrun", "ray")
    ]
    assert curves[0] == curves[1] and not (shop / "ray" / "ray").exists()


def ranks_of(pid):
    """Returns the processes that ``pid`` started, by rank."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(
        (int(child) for child in children),
        key=lambda child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0RANK=")[1][:1],
    )
