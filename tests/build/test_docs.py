"""Links and module names in the documentation exist."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_links_in_readme_and_docs_have_a_target():
    broken = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        broken += [f"{page.name}: {target}" for target in targets if not (page.parent / target).exists()]
    assert broken == []


def test_anchors_of_links_in_docs_are_headings():
    broken = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]*)\)", page.read_text(encoding="utf-8")):
            linked = page.parent / target if target else page
            if linked.suffix == ".md" and linked.exists() and anchor not in _anchors(linked):
                broken.append(f"{page.name}: {target}#{anchor}")
    assert broken == []


def _anchors(page):
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_modules_that_docs_name_exist():
    named = set()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        named |= set(re.findall(r"`(karec(?:\.[a-z_]+)+)[`:]", page.read_text(encoding="utf-8")))
    others = {
        "karec.h",
        "karec.pc",
        "karec.toml",
        "karec.rank_log",
        "karec.ranker",
        "karec.events",
        "karec.socket",
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
