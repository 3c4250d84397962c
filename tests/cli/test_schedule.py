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
    return live_config(tmp_path_factory.mktemp("live"), url="sqlite::memory:", more="refresh_share = 0.05")


@contextmanager
def running_schedule(config):
    """Yields a process of `karec schedule` whose standard error is a pipe."""
    words = [sys.executable, "-m", "karec.cli", "schedule", str(config)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def state(config):
    return json.loads((config.parent / "schedule" / "schedule.json").read_text())


def pid_in(line):
    return int(line.rpartition("process ")[2].split(")")[0])


def has_ended(pid):
    """Returns True if the process ends within a minute."""
    try:
        return bool(select.select([os.pidfd_open(pid)], [], [], 60)[0])
    except ProcessLookupError:
        return True


def test_schedule_restarts_killed_children_and_stops_all_on_a_signal(config, capsys):
    wanted = random.Random(0)
    with running_schedule(config) as process:
        child = pid_in(process.stderr.readline())
        for deaths in range(1, KILLS + 1):
            select.select([], [], [], wanted.random())  # a moment of its start, or of its work
            os.kill(child, signal.SIGKILL)
            died = process.stderr.readline()
            assert f"died {deaths} times; last: killed by SIGKILL" in died
            child = pid_in(process.stderr.readline())
        assert cli.main(["schedule", str(config)]) == 2
        told = capsys.readouterr().err
        assert "another karec schedule runs here" in told and str(process.pid) in told
        assert cli.main(["schedule", str(config), "--status"]) == 0
        assert f"process {child}), died {KILLS} times" in " ".join(capsys.readouterr().out.split())
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0 and has_ended(child)
    found = state(config)
    assert found["pid"] is None and found["children"]["refresh"]["deaths"] == KILLS
    assert cli.main(["schedule", str(config), "--status"]) == 0
    assert "does not run" in capsys.readouterr().out


def test_schedule_reports_a_failed_child_with_its_last_line(config, tmp_path):
    text = config.read_text().replace(
        "refresh_share = 0.05", 'refresh_share = 0\ntrain_every_hours = 1\ntrain = ["nowhere"]'
    )
    (tmp_path / "karec.toml").write_text(text)
    with running_schedule(tmp_path / "karec.toml") as process:
        begun, died = process.stderr.readline(), process.stderr.readline()
        assert begun.startswith("train: runs since")
        assert "died 1 times; last: ended with 2: karec train:" in died and "online store" in died
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    assert "karec train" in (tmp_path / "schedule" / "train.log").read_text()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("refresh_share = 0", "refresh_share and train_every_hours are 0"),
        ("refresh_share = 1.5", "refresh_share = 1.5, expected 0 to 1"),
        ("train_every_hours = -1", "train_every_hours = -1, expected at least 0"),
        ("train_every_hours = 1", 'train_every_hours needs train = ["DATA"'),
        ("margin = nan", "margin = nan, expected a finite number"),
        ("train_hours = 1", "unknown key 'train_hours'"),
    ],
)
def test_schedule_refuses_a_table_without_a_child_or_with_wrong_values(config, tmp_path, capsys, table, told):
    path = tmp_path / "karec.toml"
    path.write_text(config.read_text().replace("refresh_share = 0.05", table))
    assert cli.main(["schedule", str(path)]) == 2
    assert told in capsys.readouterr().err


def test_schedule_refuses_a_file_without_online_and_a_folder_without_state(config, tmp_path, capsys):
    path, text = tmp_path / "karec.toml", config.read_text()
    path.write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    assert cli.main(["schedule", str(path)]) == 2
    assert "has no table [online]" in capsys.readouterr().err
    assert cli.main(["schedule", str(path), "--status"]) == 2
    assert "karec schedule has not run here" in capsys.readouterr().err


def test_schedule_refuses_trainings_into_another_folder_than_the_bundle(config, tmp_path, capsys):
    path = tmp_path / "karec.toml"
    more = 'train_every_hours = 24\nmargin = 0.01\ntrain = ["shop", "--log", "rank_log"]'
    path.write_text(
        config.read_text()
        .replace("refresh_share = 0.05", more)
        .replace("sqlite::memory:", "sqlite:online.db")
    )
    refresh, train = children_of(Config.read(path), tmp_path)
    assert refresh.command == ["refresh", str(path), "--share", "0.25"]
    assert train.command[:7] == [
        "train",
        "--out",
        ".",
        "--events",
        str(path),
        "--publish-if-no-worse",
        "0.01",
    ]
    assert train.command[7:] == ["shop", "--log", "rank_log"] and train.every_s == 86_400
    path.write_text(path.read_text().replace('bundle = "bundles"', 'bundle = "../elsewhere"'))
    assert cli.main(["schedule", str(path)]) == 2
    assert "trainings publish into" in capsys.readouterr().err
