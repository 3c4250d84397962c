"""docs/howto-screening.md is true: its commands run, in order, and print what it shows, but for figures."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from karec.cli import main
from karec.screening.settings import read_settings

HOWTO = (Path(__file__).parents[2] / "docs" / "howto-screening.md").read_text(encoding="utf-8")
STEPS = re.findall(r"```sh\n([^`]*)\n```\n\n```text\n([^`]*)\n```", HOWTO)


def words(text):
    return set(re.findall(r"[A-Za-z][A-Za-z_./]+", text))


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """(the folder, what each command of the document prints)."""
    folder, found = tmp_path_factory.mktemp("howto"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command, _ in STEPS:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert main(shlex.split(command)[1:]) == 0
            found.append(out.getvalue())
    return folder, found


def test_the_document_draws_a_library_and_screens_it_twice():
    assert [command.split()[:3] for command, _ in STEPS] == [
        ["karec", "lab", "export-library"],
        *2 * [["karec", "screen", "library/screen.toml"]],
    ]


@pytest.mark.parametrize("at", range(len(STEPS)), ids=[command for command, _ in STEPS])
def test_a_command_prints_what_the_document_shows(printed, at):
    assert words(STEPS[at][1]) == words(printed[1][at])


def test_it_leaves_the_files_that_the_document_names(printed):
    folder, _ = printed
    said = json.loads((folder / "screened" / "screen.json").read_text())
    assert len(pq.read_table(folder / "screened" / "kept.parquet")) == said["keep"] == 6000
    assert (folder / "screened" / "report" / "screening.html").is_file()


def test_the_screen_toml_of_the_document_is_one(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", HOWTO, re.DOTALL)
    (tmp_path / "screen.toml").write_text(text)
    settings = read_settings(tmp_path / "screen.toml")
    assert len(settings.rules) == len(settings.quotas) == 5


def test_a_report_without_outcomes_is_refused_before_anything_is_screened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "screen.toml").write_text('keep = 1\nuploads = "uploads"\n[quality]\ncolumn = "score"\n')
    assert main(["screen", "screen.toml", "--out", "out", "--report", "report"]) == 2
    assert "the table 'learn' is missing" in capsys.readouterr().err and not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["screen", "nowhere.toml", "--out", "out"], "karec screen: nowhere.toml cannot be read"),
        (
            ["lab", "export-library", "out", "--works", "2"],
            "at least three days and one work per day",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
