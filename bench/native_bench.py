"""Builds the programs of native/bench where the C++ tests are built. Needs cmake and ninja."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "native"


def built(program: str) -> Path:
    if not (BUILD / "CMakeCache.txt").exists():
        configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DKAREC_TESTS=ON"]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["cmake", "--build", str(BUILD), "--target", program], check=True, stdout=subprocess.DEVNULL
    )
    return BUILD / "native" / "bench" / program
