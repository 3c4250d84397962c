"""docs/architecture.md names the rooms as they are."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOUSE = TEXT.split("## The house")[1].split("## The talk")[0]
SYSTEMS = TEXT.split("## The talk's systems")[1].split("## Roles")[0]
ROOMS = re.findall(
    r"`((?:karec|kernels|native)/[\w./]*)`", "".join(re.findall(r"^\| (.*?) \|", HOUSE, re.MULTILINE))
)


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_of_the_table_exists(room):
    path = ROOT / room
    assert path.is_dir() if room.endswith("/") else path.is_file()


def test_the_table_names_every_room_of_the_package():
    package = ROOT / "karec"
    folders = {f"karec/{path.parent.name}/" for path in package.glob("*/__init__.py")} - {"karec/kernels/"}
    files = {f"karec/{path.name}" for path in package.glob("*.py") if path.name != "__init__.py"}
    assert (folders | files) - set(ROOMS) == set()


def test_the_talks_twenty_systems_have_paths_that_exist():
    rows = re.findall(r"^\| (\d+) ", SYSTEMS, re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 21))
    paths = re.findall(r"\]\(\.\./([\w./]+)\)", SYSTEMS)
    assert len(paths) >= 20 and [path for path in paths if not (ROOT / path).exists()] == []


def test_every_link_in_readme_and_docs_leads_somewhere():
    broken = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_the_changelog_names_where_each_module_moved_to():
    table = re.findall(
        r"^  \| (`karec.*?) \| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(table) > 20
    now = {name for _, cell in table for name in re.findall(r"`(karec[\w.]+)`", cell)}
    assert sorted(name for name in now if importlib.util.find_spec(name) is None) == []


def test_modules_that_docs_name_exist():
    named = set()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        named |= set(re.findall(r"`(karec(?:\.[a-z_]+)+)[`:]", page.read_text(encoding="utf-8")))
    others = {
        "karec.h",
        "karec.pc",
        "karec.live",
        "karec.toml",
        "karec.observers",
        "karec.rank_log",
        "karec.ranker",
    }  # files, loggers, metadata keys
    assert sorted(name for name in named - others if not _is_there(name)) == []


def _is_there(name):
    """A module, or an attribute of one."""
    parts = name.split(".")
    if (ROOT / Path(*parts)).is_dir() or (ROOT / Path(*parts)).with_suffix(".py").is_file():
        return True
    if parts[1] == "kernels":
        return (ROOT / Path(*parts[1:])).is_dir() or any((ROOT / "kernels").glob(f"{parts[2]}.py*"))
    module = importlib.import_module(".".join(parts[:-1]))
    return hasattr(module, parts[-1])
