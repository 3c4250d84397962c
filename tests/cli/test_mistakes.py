"""Mistakes are told in a line that says what to do, without a traceback, and the command exits with 2."""

import sys

import pytest

from karec import cli

TINY = ["--works", "2000", "--users", "200", "--exposures", "4000"]
SMALL = """
features.dim = 4
features.min_count = 3
ranker.epochs = 1
ranker.hidden = 8
run.threads = 1
run.checkpoint_steps = 1
"""


def test_screen_tells_how_a_day_is_written(tmp_path, capsys):
    assert cli.main(["screen", "screen.toml", "--out", str(tmp_path), "--last", "yesterday"]) == 2
    assert "'yesterday' does not match the formats '%Y-%m-%d'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        (
            "optimizer.learning_rate = nan",
            [],
            "train.toml:8: optimizer: learning_rate = nan, expected a finite number",
        ),
        ("ranker.auxiliary = [1]", [], "train.toml:8: ranker: auxiliary[0] = 1, expected str"),
        (
            "epochs = 1",
            [],
            "train.toml:8: the key 'epochs' belongs to a section. Write it at ranker.epochs or towers.epochs",
        ),
        ("task_weights = {lik = 2}", [], "task_weights weighs ['lik']"),
        ("optimizer.learning_rate = 1e6", [], "lower the rate. The last good state is"),
        ("", ["--resume"], "run: no run to resume. Start without --resume"),
        ("", ["--signing-key", "nowhere.pem"], "nowhere.pem cannot be read: No such file or directory"),
        ("", ["--upload", "s3://key:secret@bucket/x"], "s3://bucket/x: the URL contains credentials"),
        ("", ["--upload", "bundles"], "bundles is not a URL of an object store"),
    ],
)
def test_train_tells_a_mistake_in_a_line_and_publishes_nothing(tmp_path, capsys, settings, more, message):
    (tmp_path / "train.toml").write_text(SMALL + settings)
    arguments = ["--settings", str(tmp_path / "train.toml"), "--out", str(tmp_path / "out"), *more]
    assert cli.main(["train", "world", *TINY, *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "out" / "bundles").exists()


def test_refused_log_url_is_shown_without_its_credentials(capsys):
    assert cli.main(["evaluate", "consistency", "--log", "s3://key:secret@b/x"]) == 2
    error = capsys.readouterr().err
    assert "s3://b/x: the URL contains credentials" in error and "secret" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "nowhere.toml", "--user", "1"], "nowhere.toml cannot be read"),
        (["inspect", "nowhere"], "is not a bundle, an index file"),
        (["demo", "kuairand"], "--root"),
        (["demo", "kuairand", "--root", "nowhere"], "log_standard_4_22_to_5_08_pure.csv"),
        (["demo", "--works", "0"], "'--works': Input should be greater than or equal to 1"),
        (["evaluate", "models", "world"], "Missing option '--run'"),
        (["evaluate", "consistency"], "--log"),
        (["lab", "simulate", "--arms", "nowhere.toml", "--out", "x"], "nowhere.toml cannot be read"),
        (
            ["lab", "simulate", "--arms", "prerank", "--out", "x", "--days", "0"],
            "'--days': Input should be greater than or equal to 1",
        ),
        (
            ["lab", "simulate", "--arms", "prerank", "--out", "x", "--users", "3"],
            "n_users must be an integer ≥ 20",
        ),
        (["evaluate", "consistency", "--log", "nowhere"], "holds no rank log"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (["demo"], "karec demo"),
        (["lab", "simulate", "--arms", "prerank", "--out", "x"], "karec lab"),
        (["screen", "screen.toml", "--out", "x", "--report", "y"], "--report"),
        (["evaluate", "consistency", "--log", "x", "--report", "y"], "--report"),
    ],
)
def test_command_names_the_missing_extra(arguments, purpose, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(arguments) == 2
    message = f"{purpose} needs the package 'matplotlib': pip install 'karec[lab]'"
    assert message in capsys.readouterr().err
