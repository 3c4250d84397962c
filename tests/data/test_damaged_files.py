"""A damaged data file is refused, its damage is counted, or the damage changes no training data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import damaged_child
import pytest
from damaged_files import REFUSED, Layout, cell_cases, file_cases, is_clear, outcome_of
from damaged_layouts import LAYOUTS
from kuairand_files import LOG

from karec.errors import DataError

FILES = [(layout, name) for layout in LAYOUTS for name in LAYOUTS[layout]().files]
COLUMNS = [
    (layout, name, column.decode()) for layout, name in FILES for column in LAYOUTS[layout]().files[name][0]
]
# make test damages one file of each layout and one column of each kind; the others take minutes
FIRST_FILES = {case[0]: case for case in reversed(FILES)}.values()
LAST_OF_KIND = {(case[0], LAYOUTS[case[0]]().kinds[case[1]].get(case[2])): case for case in COLUMNS}.values()


def marked(cases, short):
    """Returns `cases`; those that are not in `short` are long."""
    return [case if case in short else pytest.param(*case, marks=pytest.mark.long) for case in cases]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """{layout: dataset of its undamaged files}."""
    result = {}
    for kind, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp(kind)
        layout().write(folder)
        result[kind] = layout().load(folder)
    return result


def _wrong(
    layout: Layout,
    whole: Any,
    folder: Path,
    name: str,
    cases: Iterator[tuple[str, bytes, str]],
    words: tuple[str, ...],
    place: str,
) -> dict[str, tuple[str, str]]:
    """Returns {damage: (expected, actual outcome)} of cases with another outcome than expected.

    A refusal must contain ``words`` and match ``place``, a regular expression.
    """
    layout.write(folder)
    wrong = {}
    for damage, damaged, expected in cases:
        (folder / name).write_bytes(damaged)
        outcome, message = outcome_of(layout, folder, whole)
        if outcome != expected or (
            outcome == REFUSED and not (is_clear(message, words) and re.search(place, message))
        ):
            wrong[damage] = expected, f"{outcome} {message}"
    return wrong


@pytest.mark.parametrize(("kind", "name", "column"), marked(COLUMNS, LAST_OF_KIND))
def test_damaged_cell_is_refused_counted_or_unread(
    whole: dict[str, Any], kind: str, name: str, column: str, tmp_path: Path
) -> None:
    layout = LAYOUTS[kind]()
    words = () if layout.kinds[name].get(column) == "key" else (name,)  # rows elsewhere name a key
    assert (
        _wrong(
            layout, whole[kind], tmp_path, name, cell_cases(layout, name, column), words, r"(line |:)[0-9]+\b"
        )
        == {}
    )


@pytest.mark.parametrize(("kind", "name"), marked(FILES, FIRST_FILES))
def test_damaged_file_is_refused_counted_or_unread(
    whole: dict[str, Any], kind: str, name: str, tmp_path: Path
) -> None:
    layout = LAYOUTS[kind]()
    assert _wrong(layout, whole[kind], tmp_path, name, file_cases(layout, name), (name,), "") == {}


def test_damage_far_from_the_start_is_reported_with_its_line(tmp_path: Path) -> None:
    """The file has several blocks."""
    layout = LAYOUTS["kuairand"]()
    layout.write(tmp_path)
    name, (header, *rows) = LOG, layout.files[LOG]
    many = [[*rows[0][:3], b"%d" % (int(rows[0][3]) + i), *rows[0][4:]] for i in range(100_000)]
    for cell, cause in ((b"99", f"{name}:90002: column 'tab': none of"), (b'"9', "line 90002 opens a quote")):
        many[90_000][header.index(b"tab")] = cell
        (tmp_path / name).write_bytes(layout.written(name, [header, *many]))
        with pytest.raises(DataError, match=cause):
            layout.load(tmp_path)


@pytest.mark.long
def test_huge_and_special_files_are_refused_in_bounded_memory() -> None:
    """Loads pipes, devices, loops of links, endless lines and altered files in a child with limits."""
    child = [sys.executable, Path(damaged_child.__file__)]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    result = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(result) > 90
    assert [case for case in result if not is_clear(case["message"], (case["name"],))] == []
    assert [case for case in result if case["mebibytes"] > 256] == []
