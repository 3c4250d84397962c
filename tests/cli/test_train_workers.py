"""`karec train --workers`: the same result from several processes, also after one was killed."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from own_files import shop_rows, write_shop
from ray_processes import ray_processes

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
    return write_folder(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run folder of a training with ``--workers 2`` that ended."""
    folder = write_folder(tmp_path_factory.mktemp("whole"))
    training = start(folder, "out", "--workers", "2")
    assert training.wait() == 0, training.stderr.read()
    return folder / "out" / "run"


def write_folder(folder):
    write_shop(folder / "shop", shop_rows(600))
    (folder / "train.toml").write_text(SETTINGS)
    return folder


def assert_same_models(run, other):
    for name in ("ranker", "user_tower", "item_tower"):
        assert (run / f"{name}.onnx").read_bytes() == (other / f"{name}.onnx").read_bytes(), name


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


def start_until_towers(folder, out, *options):
    """Returns a training of two ranks that has a checkpoint of its towers."""
    training = start(folder, out, "--workers", "2", *options)
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
def test_training_with_a_killed_worker_resumes_with_the_same_models(shop, whole):
    killed = start_until_towers(shop, "killed")
    os.kill(ranks_of(killed.pid)[1], signal.SIGKILL)
    assert killed.wait() == 2
    assert "rank 1 was killed" in killed.stderr.read()
    resumed = start(shop, "killed", "--workers", "2", "--resume")
    assert resumed.wait() == 0, resumed.stderr.read()
    assert_same_models(shop / "killed" / "run", whole)
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
def test_training_by_ray_has_the_models_of_torchrun(shop, whole):
    by_ray = start(shop, "ray", "--workers", "2", "--engine", "ray")
    output, errors = by_ray.communicate()
    assert by_ray.returncode == 0, output + errors
    assert_same_models(shop / "ray" / "run", whole)
    curves = [json.loads((run / "run.json").read_text())["epochs"] for run in (shop / "ray" / "run", whole)]
    assert curves[0] == curves[1] and not (shop / "ray" / "ray").exists()


@pytest.mark.long
def test_training_by_ray_with_a_killed_rank_resumes_with_the_same_models(shop, whole):
    killed = start_until_towers(shop, "killed", "--engine", "ray")
    ranker = shop / "killed" / "run" / "checkpoints" / "ranker"
    finished = {file: file.stat().st_mtime_ns for file in ranker.rglob("*")}
    os.kill(ray_processes(killed.pid, "RayTrainWorker")[1], signal.SIGKILL)
    _, errors = killed.communicate()
    last = errors.strip().splitlines()[-1]
    assert killed.returncode == 2 and re.fullmatch(
        r"karec train: rank [01] was killed or failed\. Continue with --resume", last
    )
    resumed = start(shop, "killed", "--workers", "2", "--engine", "ray", "--resume")
    output, errors = resumed.communicate()
    assert resumed.returncode == 0, output + errors
    assert finished and finished == {file: file.stat().st_mtime_ns for file in ranker.rglob("*")}
    assert_same_models(shop / "killed" / "run", whole)


def ranks_of(pid):
    """Returns the processes that ``pid`` started, by rank."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(
        (int(child) for child in children),
        key=lambda child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0RANK=")[1][:1],
    )
