"""An experiment that has started keeps its units and pages, over reloads, restarts and damaged files."""

import json

import pytest
from two_experiments import EXPERIMENTS

import karec
from karec.config.arms import load_experiments
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.experiments.started import add_versions, read_versions

SALT = 'salt = "ranking-2026"'
START, END = "start = 2020-01-01T00:00:00Z", "end = 2090-01-01T00:00:00Z"
OTHER_SALT = {SALT: 'salt = "b"'}
OTHER_WEIGHTS = {"control.weight = 0.5": "control.weight = 0.4", "{ weight = 0.5": "{ weight = 0.6"}
PLANNED = {START: "start = 2089-01-01T00:00:00Z"}
CHANGES = [
    (
        {SALT: 'salt = "ranking-2027"'},
        "salt is 'ranking-2027', expected 'ranking-2026': version 1 has started",
    ),
    ({SALT: f'{SALT}\nunit = "session"'}, "unit is 'session', expected 'user'"),
    (OTHER_WEIGHTS, "weights is"),
    (PLANNED, "start is"),
    ({"like = 5.0": "like = 6.0"}, "patches is"),
    ({"coverage = 0.8": "coverage = 0.8\nholdout = 0.1"}, "holdout is 0.1, expected 0.0"),
    ({"coverage = 0.8": "coverage = 0.8\ninterleave = true"}, "interleave is True, expected False"),
    ({"coverage = 0.8": "coverage = 0.9\ndebug = { u = 'likes' }"}, None),
    ({**OTHER_SALT, "coverage = 0.8": "version = 2"}, None),
    ({END: "end = 2020-02-01T00:00:00Z"}, None),
]


@pytest.mark.parametrize(("replacements", "message"), CHANGES)
def test_reload_refuses_changes_that_move_units_of_a_started_experiment(
    write_experiments, replacements, message
):
    path = write_experiments()
    with karec.open(path, reload=True) as hot_swap:
        write_experiments(replacements)
        if message is None:
            assert hot_swap.reload()
            return
        with pytest.raises(ConfigError, match=f"experiments.fusion: {message}") as error:
            hot_swap.reload()
        assert "Start a new version: version = 2" in str(error.value)
        write_experiments()
        assert not hot_swap.reload()


def serve(path):
    karec.open(path, reload=True).close()


def test_restart_refuses_changes_of_the_experiments_that_were_in_service(write_experiments):
    serve(write_experiments())
    with pytest.raises(ConfigError, match="salt is 'b', expected 'ranking-2026'"):
        serve(write_experiments(OTHER_SALT))
    serve(write_experiments({**OTHER_SALT, "coverage = 0.8": "version = 2"}))
    with pytest.raises(ConfigError, match=r"salt is 'b', expected 'ranking-2026'.*version = 2"):
        serve(write_experiments(OTHER_SALT))


def test_version_stays_fixed_after_its_experiment_ended_or_was_removed(write_experiments):
    serve(write_experiments())
    serve(write_experiments({END: "end = 2020-02-01T00:00:00Z"}))
    with pytest.raises(ConfigError, match="weights is"):
        serve(write_experiments(OTHER_WEIGHTS))
    first, last = (EXPERIMENTS.index(f"[experiments.{name}]") for name in ("fusion", "popular"))
    serve(write_experiments(text=EXPERIMENTS[:first] + EXPERIMENTS[last:]))
    with pytest.raises(ConfigError, match="weights is"):
        serve(write_experiments(OTHER_WEIGHTS))


def test_experiment_that_has_not_started_may_change(write_experiments):
    with karec.open(write_experiments(PLANNED), reload=True) as hot_swap:
        write_experiments({**PLANNED, **OTHER_SALT})
        assert hot_swap.reload()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}x", b'{"fusion.1": {"salt": 3}}', None])
def test_damaged_file_of_started_versions_is_logged_and_replaced(
    write_experiments, tmp_path, caplog, content
):
    path, file = write_experiments(), tmp_path / "experiments.started.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with karec.open(path, reload=True) as hot_swap:
        assert f"{file} cannot be read" in caplog.text
        assert {*read_versions(tmp_path / "experiments.toml")} == (
            {"fusion.1", "popular.1"} if content is not None else set()
        )
        write_experiments(OTHER_SALT)
        with pytest.raises(ConfigError, match="salt is 'b'"):  # this process knows its own versions
            hot_swap.reload()


def test_file_of_started_versions_has_what_was_loaded_and_no_ids(write_experiments, tmp_path):
    values = {"coverage = 0.8": "debug = { anna = 'likes' }"}
    path = tmp_path / "experiments.toml"
    loaded = load_experiments(Config.read(write_experiments(values)))
    write_experiments(OTHER_SALT)  # edited while the service builds the arms of the old file
    known = add_versions(loaded, {}, path)
    assert read_versions(path) == known and known["fusion.1"].salt == "ranking-2026"
    assert "anna" not in path.with_suffix(".started.json").read_text()
    assert json.loads(path.with_suffix(".started.json").read_text()).keys() == {"fusion.1", "popular.1"}
    load_experiments(Config.read(write_experiments(values)))
