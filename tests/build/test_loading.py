"""Packages that importing karec loads: only those that the process needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONLY_FOR_LEARNING = ("torch", "onnx", "onnxscript", "onnxmltools", "lightgbm", "sklearn", "tensorboard")
HEAVY = ("numpy", "numba", "onnxruntime", "pyarrow", "rich", "matplotlib", *ONLY_FOR_LEARNING)


def loaded_after(code):
    """The modules that a fresh interpreter holds after running ``code``."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_karec_loads_no_heavy_package():
    assert not loaded_after("import karec").intersection(HEAVY)


def test_public_names_are_attributes_of_karec():
    import karec

    for name in {*dir(karec)} - {"__version__"}:
        assert getattr(karec, name).__name__.removeprefix("karec.") == name
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        karec.nothing_of_the_kind  # noqa: B018


def test_import_karec_learn_loads_no_learning_package():
    assert not loaded_after("import karec.learn, karec.learn.settings.settings").intersection(
        ONLY_FOR_LEARNING
    )


SERVING = """
import importlib, pkgutil
import karec
from karec import *
arrays = ("kernels", "index", "diversity", "models", "catalog", "aggregates", "features")
for name in (*arrays, "pipeline", "steps", "exposure", "online", "bundle", "config", "refresh"):
    module = importlib.import_module(f"karec.{name}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"karec.{name}."):
        importlib.import_module(found.name)
"""


def test_serving_loads_no_learning_package():
    loaded = loaded_after(SERVING)
    assert "karec.steps.selectors.inner_product" in loaded and "karec.steps.hydrators.ranker" in loaded
    assert not loaded.intersection(ONLY_FOR_LEARNING)
    assert not any(name.startswith("karec.learn") for name in loaded)


COMMANDS = """
import importlib, pkgutil
import karec.cli
for module in pkgutil.iter_modules(karec.cli.__path__, "karec.cli."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_command_line_loads_no_lab_before_a_command_runs():
    loaded = loaded_after(COMMANDS)
    assert "karec.cli.lab" in loaded
    assert not any(name == "karec.lab" or name.startswith("karec.lab.") for name in loaded)


EVERY_MODULE = """
import importlib, json, os, pkgutil, signal, threading, warnings
import karec
outside = ("numpy", "numba", "onnxruntime", "pyarrow.parquet", "rich.console", "matplotlib", "torch", "onnx", "lightgbm")
for name in outside:  # their effects at import are not those of karec
    importlib.import_module(name)
before = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT), threading.active_count(), list(warnings.filters)
for module in pkgutil.walk_packages(karec.__path__, "karec."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = dict(os.environ), os.getcwd(), signal.getsignal(signal.SIGINT), threading.active_count(), list(warnings.filters)
assert before == after, (before, after)
"""


def test_import_of_every_module_has_no_side_effect(tmp_path):
    """It writes no file or output, starts no thread and does not change the process.

    Only OMP_WAIT_POLICY must be set before torch loads OpenMP."""
    command, told = [sys.executable, "-c", EVERY_MODULE], {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(tmp_path.iterdir())


def test_import_without_the_extension_names_the_build_command(tmp_path):
    """Each module is the first import, without the import hook of this tree's editable install."""
    not_copied = shutil.ignore_patterns("*.so", "__pycache__", "kernels")
    shutil.copytree(ROOT / "karec", tmp_path / "karec", ignore=not_copied)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *packages])}
    for module in ("karec", "karec.config", "karec.diversity"):
        command = [sys.executable, "-S", "-c", f"import {module}"]
        done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert f"karec in {tmp_path / 'karec'} is not built" in done.stderr.splitlines()[-1]
        assert "pip install -e ." in done.stderr.splitlines()[-1]
