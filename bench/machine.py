"""Limits of this machine, and the C++ programs of native/bench."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "native"


def limits() -> dict[str, float]:
    """Returns limits of one core: "copy", "gather_128", "gather_256" in GB/s, "fma" in GFLOP/s."""
    program, source = ROOT / "build" / "bench" / "machine", ROOT / "native" / "bench" / "machine_bench.cpp"
    program.parent.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "c++")
    command = [compiler, "-std=c++20", "-O3", "-march=native", "-o", str(program), str(source)]
    subprocess.run(command, check=True)
    result: dict[str, float] = json.loads(subprocess.run([program], check=True, capture_output=True).stdout)
    return result


def native_program(name: str) -> Path | None:
    """Builds a program of native/bench. Returns None if `make test-native` did not configure the build
    yet."""
    if not (BUILD / "CMakeCache.txt").exists():
        return None
    command = ["cmake", "--build", str(BUILD), "--target", name]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return BUILD / "native" / "bench" / name
