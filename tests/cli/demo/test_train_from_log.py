"""`karec train --log` continues the towers with the log of served requests."""

import json
import shutil

import numpy as np
import pytest
from small_job import WORLD

from karec import cli
from karec.bundle import Bundle


@pytest.fixture
def served_job(job, shadowed, tmp_path):
    """A copy of the finished demo with the log of six shadow requests."""
    out = tmp_path / "out"
    for name in ("run", "bundles", "shadow_log"):
        shutil.copytree(job / name, out / name, symlinks=True)
    shutil.copy(job / "karec.toml", out)
    return out


def test_train_continues_towers_with_a_served_log(served_job, capsys):
    log = str(served_job / "shadow_log")
    assert cli.main(["train", "world", *WORLD, "--out", str(served_job), "--log", log]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "rows of model version 2" in out and "published" in out
    first, second = (Bundle.open(served_job / "bundles" / f"v000000000{version}") for version in (2, 3))
    assert second.model_version == 3 and second.ranker.fingerprint == first.ranker.fingerprint
    rows = np.arange(50)
    assert np.abs(second.index.embeddings(rows) - first.index.embeddings(rows)).max() > 1e-3
    epochs = json.loads((served_job / "run-3" / "run.json").read_text())["epochs"]
    assert list(epochs) == ["towers"], "ranker and baselines are not trained again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--log", "nowhere"], "nowhere holds no rank log"),
        (["--log", "LOG", "--log-version", "9"], "no row of model version 9, only of 2 ("),
        (["--log", "LOG", "--run", "nowhere"], "nowhere: not a run folder of karec train"),
        (["--log", "LOG", "--quick"], "--quick and --choose are for a training from scratch"),
        (["--log-version", "1"], "needs --log"),
        (["--run", "run"], "needs --log"),
    ],
)
def test_train_rejects_an_unusable_log(job, shadowed, tmp_path, capsys, options, message):
    shutil.copytree(job / "run", tmp_path / "run")
    options = [str(job / "shadow_log") if option == "LOG" else option for option in options]
    assert cli.main(["train", "world", *WORLD, "--out", str(tmp_path), *options]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "bundles").exists()
