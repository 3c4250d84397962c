"""Who may import whom (the contracts in pyproject.toml), and what a process that serves never loads."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONLY_FOR_LEARNING = ("torch", "onnx", "onnxscript", "onnxmltools", "lightgbm", "sklearn", "tensorboard")
HEAVY = ("numpy", "numba", "onnxruntime", "pyarrow", "rich", "matplotlib", *ONLY_FOR_LEARNING)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder that holds the package as it is installed: kernels/ inside karec/."""
    folder = tmp_path_factory.mktemp("package")
    sources = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "karec", folder / "karec", ignore=sources)
    shutil.copytree(ROOT / "kernels", folder / "karec" / "kernels", ignore=sources)
    return folder


def lint(folder):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    arguments = [str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo"]
    path = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([*command, *arguments], cwd=folder, env=path, capture_output=True, text=True, check=False)


def loaded_after(code):
    """The modules that a fresh interpreter holds after running ``code``."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_import_rules_hold(package):
    done = lint(package)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    assert f"{len(contracts)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("karec/rank/fusion.py", "import karec.recall.postings"),
        ("karec/recall/model.py", "import karec.rank.fusion"),
        ("karec/rerank/rules.py", "import karec.learn"),
        ("karec/index/item_index.py", "import torch"),
        ("karec/types.py", "import numba"),
        ("karec/stage.py", "import karec.index"),
        ("kernels/reference.py", "import karec.types"),
        ("karec/evaluate/measures/diversity.py", "import karec.diversity"),
        ("karec/learn/fit/checkpoint.py", "import karec.learn.run.train"),
    ],
)
def test_each_rule_can_be_broken(package, tmp_path, module, line):
    """A rule that nothing can break is none: put the forbidden import in, and the linter must object."""
    shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    inside = Path("karec", module) if module.startswith("kernels") else Path(module)
    with open(tmp_path / inside, "a") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0, done.stdout
    assert "BROKEN" in done.stdout, done.stdout + done.stderr


def test_every_folder_of_the_package_is_a_package(package):
    """Without __init__.py a folder is invisible to the import rules."""
    folders = {path.parent for path in (package / "karec").rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_importing_karec_loads_nothing_heavy():
    assert not loaded_after("import karec").intersection(HEAVY)


def test_every_public_name_is_there():
    import karec

    for name in karec.__all__:
        assert getattr(karec, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        karec.nothing_of_the_kind  # noqa: B018


def test_importing_karec_learn_loads_nothing_heavy():
    assert not loaded_after("import karec.learn, karec.learn.settings.train").intersection(ONLY_FOR_LEARNING)


SERVING = """
import importlib, pkgutil
import karec
from karec import *
home = ("recall", "request", "prerank", "rank", "rerank", "diversify", "ecosystem", "observe", "refresh", "kernels")
for name in ("cascade", "config", "bundle", "index", "diversity", "features", "platform", "models", *home):
    module = importlib.import_module(f"karec.{name}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"karec.{name}."):
        importlib.import_module(found.name)
"""


def test_serving_never_loads_what_only_learning_needs():
    loaded = loaded_after(SERVING)
    assert "karec.prerank.inner_product" in loaded and "karec.rank.ranker" in loaded
    assert not loaded.intersection(ONLY_FOR_LEARNING)
    assert not any(name.startswith("karec.learn") for name in loaded)
