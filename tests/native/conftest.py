"""The C++ programs that Python tests run: built by CMake, where `make test-native` builds them."""

import pytest
from cpp_programs import ROOT, run, tool


@pytest.fixture(scope="session")
def cmake():
    found = tool("cmake"), tool("ninja")
    if None in found:
        pytest.skip("cmake and ninja are needed to build a C++ host: pip install cmake ninja")
    return found[0]


@pytest.fixture(scope="session")
def native_programs(cmake):
    """The folder of what native/tests builds, with the hosts in it. A minute the first time, then nothing."""
    build = ROOT / "build" / "native"
    if not (build / "CMakeCache.txt").exists():
        ninja = f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"
        run(cmake, "-S", ROOT, "-B", build, "-G", "Ninja", ninja, "-DKAREC_TESTS=ON")
    run(cmake, "--build", build, "--target", "stages_host", "encoder_host")
    return build / "native" / "tests"
