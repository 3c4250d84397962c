"""Tests of ``karec refresh --engine ray`` on a cluster of this machine."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from ray_processes import ray_processes

from karec.bundle import Bundle
from karec.catalog.table import Table
from karec.cli import main
from karec.refresh.publish_run import publish
from karec.refresh.rolling import open_refresh
from karec.refresh.shards import LAST, library_folder, list_shards
from karec.refresh.workers import Worker


@pytest.fixture
def config(published, tmp_path):
    shutil.copytree(published[0].path.parent, tmp_path / "bundles", symlinks=True)
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    return tmp_path / "karec.toml"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers and --address need --engine ray"),
        (["--address", "auto"], "--workers and --address need --engine ray"),
        (["--engine", "ray", "--worker", "0/2"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(config, capsys, options, message):
    assert main(["refresh", str(config), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.long
def test_ray_tasks_end_a_round_and_pass_on_a_refusal(config, capsys):
    assert main(["refresh", str(config), "--engine", "ray", "--workers", "2", "--job", "monday"]) == 0
    assert "1, 40 of 40 works (100%)" in capsys.readouterr().out
    bundle = Bundle.open(config.parent / "bundles", verify=False)
    assert [shard.ends_round for shard in list_shards(library_folder(bundle.path))] == [False, True]
    with open_refresh(bundle, worker=Worker(1, 2)):
        assert main(["refresh", str(config), "--engine", "ray", "--workers", "2"]) == 2
    error = capsys.readouterr().err
    assert "another refresh is running as worker 1" in error and error.count("karec refresh:") == 1


@pytest.fixture
def config_of_three_shards(published, tmp_path):
    """A karec.toml with 40,000 works: those of the small bundle, repeated under other ids."""
    bundle, run = published
    works, number = bundle.snapshot.works, np.arange(40_000)
    rows = number % len(works)
    ids = np.where(number < len(works), works.ids[rows], 10**6 + number)
    columns = {name: np.asarray(column)[rows] for name, column in works.columns.items()}
    publish(run, replace(bundle.snapshot, works=Table(ids, columns)), tmp_path / "bundles")
    (tmp_path / "karec.toml").write_text('bundle = "bundles"\n[scenes.home]\n')
    return tmp_path / "karec.toml"


def refresh_with_kills(config, max_kills):
    """Returns the exit status and errors of a refresh by two tasks, and the shards that it left.

    After the first shard, at most ``max_kills`` processes of tasks are killed.
    """
    library = library_folder(Bundle.open(config.parent / "bundles", verify=False).path)
    words = [sys.executable, "-m", "karec.cli", "refresh", str(config), "--share", "0.02"]
    refresh = subprocess.Popen(
        [*words, "--engine", "ray", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = set()
    while refresh.poll() is None:
        processes = ray_processes(refresh.pid, "_refresh_part") if list_shards(library) else []
        for process in set(processes[: max_kills - len(killed)]) - killed:
            os.kill(process, signal.SIGKILL)
            killed.add(process)
        with suppress(subprocess.TimeoutExpired):
            refresh.wait(0.01)
    assert killed
    return refresh.returncode, refresh.stderr.read(), shards_of(library)


def shards_of(library):
    return {shard.key: os.stat(shard.path).st_ino for shard in list_shards(library)}


@pytest.mark.long
def test_ray_starts_a_killed_task_again_which_keeps_finished_shards(config_of_three_shards):
    status, errors, shards = refresh_with_kills(config_of_three_shards, 1)
    assert status == 0, errors
    assert set(shards) == {(1, 0), (1, 1), (1, 2), (1, LAST)}


@pytest.mark.long
def test_refresh_by_ray_ends_after_many_kills_and_continues_later(config_of_three_shards):
    status, errors, finished = refresh_with_kills(config_of_three_shards, 99)
    assert status == 2 and errors.count("karec refresh:") == 1
    assert "a worker ended without a result" in errors and "Start the command again" in errors
    assert "Traceback" not in errors and finished
    assert main(["refresh", str(config_of_three_shards), "--engine", "ray", "--workers", "2"]) == 0
    library = library_folder(Bundle.open(config_of_three_shards.parent / "bundles", verify=False).path)
    assert finished.items() <= shards_of(library).items() and (1, LAST) in shards_of(library)
