"""docs/howto-own-data.md is true: its commands run, in order, and print what it shows, but for figures."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from own_logs import shop_actions

from karec.cli import main
from karec.data.contract import Contract
from karec.toml import Place, convert

HOWTO = (Path(__file__).parents[2] / "docs" / "howto-own-data.md").read_text(encoding="utf-8")
STEPS = re.findall(r"```sh\n([^`]*)\n```\n\n```text\n([^`]*)\n```", HOWTO)
CHANNELS = {"profile", "social", "model", "popular", "fresh"}  # which of them found a work is a figure too


def words(text):
    return set(re.findall(r"[A-Za-z][A-Za-z_./]{2,}", text)) - CHANNELS - {"SKU"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each command of the document prints, where the shop's two files lie."""
    folder = tmp_path_factory.mktemp("howto")
    shop_actions(folder / "shop", 6000)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command, _ in STEPS:
            name, *arguments = shlex.split(command)
            if name == "karec":
                found.append(_karec(arguments))
            else:
                done = subprocess.run([name, *arguments], capture_output=True, text=True, check=True)
                found.append(done.stdout)
    return found


def _karec(arguments):
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(arguments) == 0
    return out.getvalue()


def test_the_document_goes_from_files_to_a_feed():
    assert [command.split()[:3] for command, _ in STEPS] == [
        ["head", "-4", "shop/log.csv"],
        ["karec", "data", "init"],
        ["karec", "data", "check"],
        ["karec", "train", "--data"],
        ["karec", "recommend", "--config"],
    ]


@pytest.mark.parametrize("at", range(len(STEPS)), ids=[command for command, _ in STEPS])
def test_a_command_prints_what_the_document_shows(printed, at):
    assert words(STEPS[at][1]) == words(printed[at])


@pytest.mark.parametrize("at", range(3))
def test_what_does_not_depend_on_training_is_shown_to_the_letter(printed, at):
    shown, found = (
        [line.rstrip() for line in text.strip().splitlines()] for text in (STEPS[at][1], printed[at])
    )
    assert shown == found


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", HOWTO, re.DOTALL))
def test_each_data_toml_of_the_document_is_one(text):
    said = tomllib.loads(text)
    if "events" not in said:
        said["events"] = {"path": "log.csv", "columns": {"user": "u", "item": "i", "time": "t"}}
    convert(Contract, said, Place(Path("data.toml")), given={"folder": Path()})
