"""Extras and dependencies of pyproject.toml."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = {"train", "serve", "online", "data", "screen", "cli", "lab", "dev"}


def test_project_has_the_documented_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == EXTRAS
    names = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "numba", "onnxruntime", "msgspec"}
