"""`karec schedule` runs its children, reports failures, and admits one process per folder."""

import json
import os
import random
import select
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from live_bundle import live_config

from karec import cli
from karec.cli.schedule import children_of
from karec.config.scenes import Config

KILLS = 3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A karec.toml whose refresh runs at once; the store is in memory."""
    folder = tmp_path_factory.mktemp("schedule")
    return live_config(folder, url="sqlite::memory:", more="refresh_share = 0.05")


@pytest.fixture
def write_config(config, tmp_path):
    """Writes a karec.toml with other settings of the table `online`, and without a bundle."""

    def write(settings):
        path = tmp_path / "karec.toml"
        path.write_text(config.read_text().replace("refresh_share = 0.05", settings))
        return path

    return write


@contextmanager
def running_schedule(config):
    """Yields a process of `karec schedule` whose standard error is a pipe."""
    command = [sys.executable, "-m", "karec.cli", "schedule", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_status(config, capsys):
    assert cli.main(["schedule", str(config), "--status", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def pid_in(line):
    return int(line.rpartition("process ")[2].split(")")[0])


def has_ended(pid):
    """Returns True if the process ends within a minute."""
    try:
        return bool(select.select([os.pidfd_open(pid)], [], [], 60)[0])
    except ProcessLookupError:
        return True


def test_schedule_restarts_killed_children_and_stops_all_on_a_signal(config, capsys):
    delays = random.Random(0)
    with running_schedule(config) as process:
        child = pid_in(process.stderr.readline())
        for deaths in range(1, KILLS + 1):
            select.select([], [], [], delays.random())  # kills the child at its start, or later
            os.kill(child, signal.SIGKILL)
            assert f"died {deaths} times; last: killed by SIGKILL" in process.stderr.readline()
            child = pid_in(process.stderr.readline())
        assert cli.main(["schedule", str(config)]) == 2
        error = capsys.readouterr().err
        assert "another karec schedule runs here" in error and str(process.pid) in error
        status = read_status(config, capsys)
        assert status["is_running"] and status["children"]["refresh"]["pid"] == child
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0 and has_ended(child)
    status = read_status(config, capsys)
    assert not status["is_running"] and status["children"]["refresh"]["deaths"] == KILLS
    assert cli.main(["schedule", str(config), "--status"]) == 0
    assert "does not run" in capsys.readouterr().out


def test_schedule_reports_a_failed_child_with_its_last_line(write_config):
    path = write_config('refresh_share = 0\ntrain_every_hours = 1\ntrain = ["nowhere"]')
    with running_schedule(path) as process:
        assert process.stderr.readline().startswith("train: runs since")
        failure = process.stderr.readline()
        assert "died 1 times; last: ended with 2: karec train:" in failure and "online store" in failure
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    assert "karec train" in (path.parent / "schedule" / "train.log").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("refresh_share = 0", "refresh_share and train_every_hours are 0"),
        ("refresh_share = 1.5", "refresh_share = 1.5, expected 0 to 1"),
        ("train_every_hours = -1", "train_every_hours = -1, expected at least 0"),
        ("train_every_hours = 1", 'train_every_hours needs train = ["DATA"'),
        ('train_every_hours = 1\ntrain = ["--quick"]', 'train_every_hours needs train = ["DATA"'),
        ("margin = nan", "margin = nan, expected a finite number"),
        ("train_hours = 1", "unknown key 'train_hours'"),
    ],
)
def test_schedule_refuses_wrong_settings(write_config, capsys, settings, message):
    assert cli.main(["schedule", str(write_config(settings))]) == 2
    assert message in capsys.readouterr().err


def test_status_needs_a_state(write_config, capsys):
    assert cli.main(["schedule", str(write_config("")), "--status"]) == 2
    assert "karec schedule has not run here" in capsys.readouterr().err


def test_children_are_commands_on_the_config_and_its_folder(write_config, tmp_path, capsys):
    path = write_config('train_every_hours = 24\nmargin = 0.01\ntrain = ["shop", "--log", "rank_log"]')
    refresh, train = children_of(Config.read(path), tmp_path)
    assert refresh.command == ["refresh", str(path), "--share", "0.25"]
    options = ["--out", ".", "--events", str(path), "--publish-if-no-worse", "0.01"]
    assert train.command == ["train", *options, "shop", "--log", "rank_log"] and train.every_s == 86_400
    path.write_text(path.read_text().replace('bundle = "bundles"', 'bundle = "../elsewhere"'))
    assert cli.main(["schedule", str(path)]) == 2
    assert "trainings publish into" in capsys.readouterr().err
