"""Folders of tests have the same path as the package that they test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT_PACKAGE = {
    "build",
    "contracts",
    "deploy",
    "docs",
    "fixtures",
    "kernels",
    "many_hosts",
    "native",
}  # packaging, all packages, deploy/, docs/, shared modules, kernels/, services of several hosts, C++
SHARED = {"cli/demo", "index/ids"}  # tests that share fixtures of their own


def test_folders_of_tests_have_the_name_of_a_package():
    strangers = set()
    for file in (ROOT / "tests").rglob("*.py"):
        folder = file.parent.relative_to(ROOT / "tests")
        if (
            not {folder.parts[0] if folder.parts else "build"} <= WITHOUT_PACKAGE
            and not (ROOT / "karec" / folder).is_dir()
        ):
            strangers.add(str(folder))
    assert strangers == SHARED
