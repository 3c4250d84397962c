"""Commands and options of `karec` that pages name exist, also in blocks that are not run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_pages import ROOT, page_blocks

from karec.cli.app import app

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in Path(ROOT, "docs").glob("*.md"))]
KAREC = typer.main.get_command(app)
IN_SHELL = re.compile(r"(?:^|\| )karec ((?:\\\n|[^#|\n])+)", re.MULTILINE)
IN_TEXT = re.compile(r"`karec\s([^`]+)`")


def commands_of(page: str) -> Iterator[str]:
    """Yields what follows `karec` in blocks of sh and in inline code."""
    for block in page_blocks(page):
        if block.language == "sh":
            yield from IN_SHELL.findall(block.text)
    yield from IN_TEXT.findall((ROOT / page).read_text(encoding="utf-8"))


def unknown_words(line: str) -> list[str]:
    """Returns words of a command line that are neither a command nor one of its options."""
    words = line.replace("\\\n", " ").split()
    command: Any = KAREC
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name.isupper():  # a placeholder: karec COMMAND --help
            return []
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]


@pytest.mark.parametrize("page", PAGES)
def test_page_names_commands_and_options_that_exist(page: str) -> None:
    unknown = {line: unknown_words(line) for line in commands_of(page)}
    assert {line: words for line, words in unknown.items() if words} == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train shop --data x", ["--data"]),
        ("live karec.toml", ["live"]),
        ("lab nothing", ["nothing"]),
        ("serve \\\n    karec.toml --port=1 --now", ["--now"]),
        ("export events karec.toml", []),
    ],
)
def test_unknown_commands_and_options_are_reported(line: str, words: list[str]) -> None:
    assert unknown_words(line) == words
