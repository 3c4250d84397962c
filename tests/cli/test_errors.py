"""Errors are one line on standard error, without a traceback, and give exit code 2."""

import os
import sys

import pytest
from small_dataset import make_dataset
from small_settings import SMALL

from karec import cli
from karec.config.project import check_outputs

WORLD = ["--works", "2000", "--users", "200", "--exposures", "4000"]
SETTINGS = """
features.dim = 4
features.min_count = 3
ranker.epochs = 1
ranker.hidden = 8
run.threads = 1
run.checkpoint_steps = 1
"""


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (
            "optimizer.learning_rate = nan",
            [],
            "train.toml:8: optimizer: learning_rate = nan, expected",
        ),
        ("ranker.auxiliary = [1]", [], "train.toml:8: ranker: auxiliary[0] = 1, expected str"),
        (
            "epochs = 1",
            [],
            "train.toml:8: the key 'epochs' belongs to a section. Write it at",
        ),
        ("task_weights = {lik = 2}", [], "task_weights weighs ['lik']"),
        ("optimizer.learning_rate = 1e6", [], "lower the rate. The last good state is"),
        ("", ["--resume"], "run: no run to resume. Start without --resume"),
        ("", ["--signing-key", "nowhere.pem"], "nowhere.pem cannot be read: No such file or directory"),
        ("", ["--upload", "s3://key:secret@bucket/x"], "s3://bucket/x: the URL contains credentials"),
        ("", ["--upload", "bundles"], "bundles is not a URL of an object store"),
        ("", ["--from-scratch"], "--from-scratch needs --log"),
        ("", ["--rolling"], "--rolling needs --log"),
        ("", ["--log", "x", "--choose", "1"], "--quick and --choose are for a training from scratch"),
    ],
)
def test_train_refuses_wrong_options_and_publishes_nothing(tmp_path, capsys, settings, options, message):
    (tmp_path / "train.toml").write_text(SETTINGS + settings)
    paths = ["--settings", str(tmp_path / "train.toml"), "--out", str(tmp_path / "out")]
    assert cli.main(["train", "world", *WORLD, *paths, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out" / "bundles").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("trian", "karec trian: No such command 'trian'. Did you mean 'train'"),
        ("train", "karec train: Missing argument 'DATA'. See --help."),
        ("train shop", "karec train: Missing option '--out'"),
        ("train lastfm --out nowhere", "lastfm needs --root DIR"),
        ("demo kuairand --root nowhere", "log_standard_4_22_to_5_08_pure.csv"),
        ("demo --works 0", "'--works': Input should be greater than or equal to 1"),
        ("recommend nowhere.toml --user 1", "nowhere.toml cannot be read"),
        ("recommend nowhere.toml", "give one of --user and --batch"),
        ("check", "CONFIG is missing"),
        ("inspect nowhere", "is not a bundle, an index file"),
        (
            "screen screen.toml --out out --last yesterday",
            "'yesterday' does not match the formats",
        ),
        ("evaluate models world", "Missing option '--run'"),
        ("evaluate consistency", "name CONFIG for pools that are drawn, --log"),
        ("evaluate consistency --log nowhere", "holds no rank log"),
        (
            "evaluate consistency karec.toml --recalled -1",
            "'--recalled': Input should be greater than",
        ),
        ("lab simulate --arms nowhere.toml --out x", "nowhere.toml cannot be read"),
        ("lab simulate --arms prerank --out x --users 3", "n_users must be an integer ≥ 20"),
        ("lab simulate --arms prerank --out x --seed 1 --seed 1", "expected at most 10 different seeds"),
        ("lab simulate --arms prerank --out x --against LL", "'LL' is not an arm"),
        ("lab export-world file", "file: this is a file, expected a folder. Name another folder."),
        ("export stage karec.toml --out .", ".: this is a folder, expected a file. Name a file in it."),
        ("export stage karec.toml --out deep/x --scene x", "deep: the folder is missing. Create it"),
        ("ingest karec.toml nowhere", "karec ingest: nowhere: No such file"),
        ("lab retrieval world --report file", "file: this is a file, expected a folder"),
        ("data init file --out file", "file: this is a file, expected a folder"),
        ("publish world --run x --out file", "file: this is a file, expected a folder"),
        ("schedule nowhere.toml --status", "nowhere.toml is missing"),
        ("lab export-library out --works 2", "at least three days and one work per day"),
    ],
)
def test_commands_explain_wrong_arguments_in_one_line(tmp_path, monkeypatch, capsys, command, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.main(command.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_log_url_is_refused_without_its_credentials(capsys):
    assert cli.main(["evaluate", "consistency", "--log", "s3://key:secret@b/x"]) == 2
    error = capsys.readouterr().err
    assert "s3://b/x: the URL contains credentials" in error and "secret" not in error


def test_screen_refuses_a_report_without_outcomes_before_it_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "screen.toml").write_text('keep = 1\nuploads = "uploads"\n[quality]\ncolumn = "score"\n')
    assert cli.main(["screen", "screen.toml", "--out", "out", "--report", "report"]) == 2
    assert "the table 'learn' is missing" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("command", "purpose"),
    [
        ("demo", "karec demo"),
        ("lab simulate --arms prerank --out x", "karec lab simulate"),
        ("screen screen.toml --out x --report y", "--report"),
    ],
)
def test_command_names_the_missing_extra(command, purpose, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(command.split()) == 2
    assert f"{purpose} needs the package 'matplotlib': pip install 'karec[lab]'" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["torch", "onnx", "igraph"])
@pytest.mark.parametrize(
    ("command", "purpose"),
    [
        ("demo", "karec demo"),
        ("train world --out x", "karec train"),
        ("publish world --run x --out x", "karec publish"),
        ("lab simulate --arms prerank --out x", "karec lab simulate"),
        ("lab ablation world --out x", "karec lab ablation"),
        ("screen screen.toml --out x --train", "--train"),
    ],
)
def test_command_names_the_extra_train_before_work(command, purpose, package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(command.split()) == 2
    expected = f"{purpose} needs the package '{package}': pip install 'karec[train]'"
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_command_line_without_typer_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "karec.cli.app", raising=False)
    monkeypatch.delattr(cli, "app", raising=False)
    assert cli.main(["inspect", "x"]) == 2
    assert "the package 'typer': pip install 'karec[cli]'" in capsys.readouterr().err


def write_file(path):
    path.write_text("not a folder")


def write_wrong_toml(path):
    path.write_text("[scenes.home\n")


def write_other_scene(path):
    path.write_text('bundle = "bundles"\n[scenes.shop.limits]\nrecall = 10\n')


@pytest.mark.parametrize(
    ("command", "write", "name", "message"),
    [
        ("train", write_file, "out", "this is a file, expected a folder"),
        ("train", write_file, "out/bundles", "this is a file, expected a folder"),
        ("train", write_file, "out/run", "this is a file, expected a folder"),
        ("train", write_wrong_toml, "out/karec.toml", "karec.toml"),
        ("demo", write_other_scene, "out/karec.toml", "no scene 'home'; it has ['shop']"),
        ("demo", write_file, "report", "this is a file, expected a folder"),
    ],
)
def test_trainings_check_their_outputs_before_they_start(tmp_path, capsys, command, write, name, message):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / name)
    options = [*WORLD, "--out", str(tmp_path / "out")]
    if command == "demo":
        options += ["--report", str(tmp_path / "report")]
    assert cli.main([command, "world", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "run").is_dir()


def test_check_outputs_refuses_a_disk_that_is_too_small_and_writes_nothing(tmp_path):
    dataset = make_dataset()
    with pytest.raises(OSError, match=r"take at least [\d,]+ MiB, and [\d,]+ MiB are free"):
        check_outputs(dataset, SMALL.replace(towers={"vector": 10**12}), tmp_path / "deep" / "out")
    check_outputs(dataset, SMALL, tmp_path / "deep" / "out", tmp_path / "report", serves=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_outputs_refuses_a_folder_without_permission(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        check_outputs(make_dataset(), SMALL, tmp_path / "out")
