"""The C++ programs that Python tests run: built by CMake, where `make test-native` builds them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def tool(name):
    """The program beside this interpreter, or on PATH; None where there is none."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


@pytest.fixture(scope="session")
def cmake():
    found = tool("cmake"), tool("ninja")
    if None in found:
        pytest.skip("cmake and ninja are needed to build a C++ host: pip install cmake ninja")
    return found[0]


@pytest.fixture(scope="session")
def native_programs(cmake):
    """The folder of what native/tests builds, with prerank_host in it. A minute the first time, then nothing."""
    build = ROOT / "build" / "native"
    if not (build / "CMakeCache.txt").exists():
        ninja = f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"
        run(cmake, "-S", ROOT, "-B", build, "-G", "Ninja", ninja, "-DKAREC_TESTS=ON")
    run(cmake, "--build", build, "--target", "prerank_host")
    return build / "native" / "tests"
