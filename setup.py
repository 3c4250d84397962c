"""Builds karec's native modules with CMake, driven once; everything else stands in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
KERNELS = sorted(path.stem for path in (ROOT / "kernels").glob("*.pyx"))


def tool(module: str, directory: str) -> str:
    """The program of the PyPI package ``module``, else the one on PATH, else the bare name (whose failure
    says it all).

    The package comes first because the interpreter's ``bin`` folder need not be on PATH.
    """
    try:
        program = Path(getattr(__import__(module), directory)) / module
    except (ImportError, AttributeError):
        return shutil.which(module) or module
    return str(program) if program.exists() else shutil.which(module) or module


class CMakeBuild(build_ext):
    """Configures, builds and installs the CMake component ``python``, then hands each module to
    setuptools."""

    def build_extensions(self) -> None:
        import pybind11

        # One folder for each interpreter. The build environment of an earlier `pip install` is gone, and so
        # are the programs that its CMakeCache.txt names: --fresh forgets the cache and keeps the object
        # files.
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        staged = build / "staged"
        # The build environment has a new path each time: with headers from there, what includes them would be
        # compiled again. A copy that was cut off is nowhere.
        headers = build / f"pybind11-{pybind11.__version__}"
        build.mkdir(parents=True, exist_ok=True)
        if not headers.exists():
            with tempfile.TemporaryDirectory(dir=build) as folder:
                Path(shutil.copytree(Path(pybind11.__file__).parent, Path(folder) / "pybind11")).rename(
                    headers
                )
        cmake = tool("cmake", "CMAKE_BIN_DIR")
        configure = [
            *(cmake, "--fresh", "-S", str(ROOT), "-B", str(build), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja', 'BIN_DIR')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={headers / 'share' / 'cmake' / 'pybind11'}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            "-DKAREC_PYTHON=ON",
        ]
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        jobs = str(self.parallel or n_cpus or 1)
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build), "--parallel", jobs], check=True)
        shutil.rmtree(staged, ignore_errors=True)
        subprocess.run(
            [cmake, "--install", str(build), "--component", "python", "--prefix", str(staged)], check=True
        )
        for extension in self.extensions:
            target = Path(self.get_ext_fullpath(extension.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(staged.joinpath(*extension.name.split(".")[:-1], target.name), target)


# `make typed` makes this link to kernels/. An editable install that sees it finds kernels only through it, so
# that karec cannot be imported after the link is removed.
(ROOT / "karec" / "kernels").unlink(missing_ok=True)

setup(
    packages=["karec.kernels", *find_packages(include=["karec", "karec.*"])],
    package_dir={"karec.kernels": "kernels"},
    ext_modules=[
        Extension("karec._native", sources=[]),
        *(Extension(f"karec.kernels.{name}", sources=[]) for name in KERNELS),
    ],
    cmdclass={"build_ext": CMakeBuild},
)
