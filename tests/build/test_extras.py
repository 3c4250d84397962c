"""Extras that messages name exist in pyproject.toml."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = {"train", "serve", "online", "data", "screen", "experiments", "cli", "lab", "ray", "dev"}


def missing_extras() -> set[str]:
    """Returns the constant second argument of each MissingExtra(...) in karec."""
    names = set[str]()
    for path in (ROOT / "karec").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtra":
                extra = node.args[1]
                names |= {extra.value} if isinstance(extra, ast.Constant) else set()
    return names


def test_project_has_the_documented_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == EXTRAS
    names = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "numba", "onnxruntime", "msgspec"}


def test_missing_extra_names_an_extra_of_the_project():
    names = missing_extras()
    assert names and names <= EXTRAS
