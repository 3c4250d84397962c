"""The Typer application: help, examples, version, and progress without a terminal."""

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import karec
from karec.cli import main, output
from karec.cli.app import EXAMPLES, app
from karec.cli.options import DataChoice, flatten
from karec.cli.output import ProgressReport


def find_command(words):
    """Returns the command that ``words`` name, and the remaining words."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words[0]]
        words = words[1:]
    return command, words


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_are_valid(example):
    command, words = find_command(shlex.split(re.split("[<>]", example)[0])[1:])
    command.make_context(command.name, words)


@pytest.mark.parametrize("command", ["demo", "data init", "train", "recommend", "check", "lab simulate"])
def test_help_of_a_command_has_its_examples(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    assert f"Examples: karec {command}" in " ".join(capsys.readouterr().out.split())


def test_help_without_words_lists_the_commands(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [words[1] for line in lines if len(words := line.split()) > 2 and line.startswith("│ ")]
    assert {"demo", "publish", "schedule", "ingest", "evaluate", "lab"} <= set(commands)


@pytest.mark.parametrize("text_columns", [0, 1])
def test_text_table_cuts_no_cell_on_a_narrow_terminal(text_columns):
    ids = ["work-0123456789abcdefghij", "9007199254740991"]
    console = Console(width=24, file=io.StringIO())
    console.print(output.text_table("Page", ("work", "user", "score"), [(*ids, "0.5")], text_columns))
    rows = [line.split("│")[1:3] for line in console.file.getvalue().splitlines() if "│" in line]
    assert ["".join(cell.strip() for cell in column) for column in zip(*rows, strict=True)] == ids


def test_commands_are_defined_without_numpy():
    """NumPy reads the variables that karec serve sets when it is imported."""
    code = "import sys, karec.cli.app; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"karec {karec.__version__}\n"


def test_flatten_makes_an_option_of_each_field():
    calls = []

    def command(
        choice: DataChoice, out: Annotated[Path, typer.Option()], k: Annotated[int, typer.Option("--k")] = 3
    ) -> None:
        calls.append((choice, out, k))

    small = typer.Typer()
    small.command()(flatten(command))
    result = CliRunner().invoke(small, ["shop", "--out", "run", "--works", "7", "--skip-bad"])
    assert result.exit_code == 0, result.output
    assert calls == [(DataChoice(data="shop", works=7, skip_bad=True), Path("run"), 3)]


def test_flatten_takes_defaults_of_options_from_the_default_of_a_struct():
    calls = []
    default = DataChoice(data="world", works=5)

    def command(choice: DataChoice = default) -> None:
        calls.append(choice)

    small = typer.Typer()
    small.command()(flatten(command))
    assert CliRunner().invoke(small, ["--users", "2"]).exit_code == 0
    assert calls == [DataChoice(data="world", works=5, users=2)]


@pytest.mark.parametrize(("pause_s", "lines"), [(0.0, ["items: 1 of 3", "items: 2 of 3"]), (1e9, [])])
def test_progress_without_a_terminal_is_a_line_per_pause(monkeypatch, capsys, pause_s, lines):
    monkeypatch.setattr(output, "LINE_PAUSE_S", pause_s)
    with ProgressReport() as progress:
        progress(1, 3, "items")
        progress(2, 3, "items")
    assert capsys.readouterr().err.splitlines() == lines


def test_progress_on_a_terminal_is_a_bar(capsys):
    with ProgressReport(Console(stderr=True, force_terminal=True, width=100)) as progress:
        progress(2, 3, "items")
    assert "items" in capsys.readouterr().err
