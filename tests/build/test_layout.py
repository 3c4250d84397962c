"""Tests lie where what they test lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_NO_ROOM = {
    "build",
    "contracts",
    "deploy",
    "fixtures",
    "kernels",
    "native",
}  # packaging, all rooms, deploy/, shared modules, kernels/, C++
SHARED = {"cli/demo", "data/own", "index/ids"}  # tests that share fixtures of their own


def test_folders_of_tests_have_the_name_of_a_package():
    strangers = set()
    for file in (ROOT / "tests").rglob("*.py"):
        folder = file.parent.relative_to(ROOT / "tests")
        if (
            not {folder.parts[0] if folder.parts else "build"} <= OF_NO_ROOM
            and not (ROOT / "karec" / folder).is_dir()
        ):
            strangers.add(str(folder))
    assert strangers == SHARED
