"""Mutation tests of the C++ library: each change of mutants.toml must make a test fail.

    python tests/native/mutants.py [name …]

Copies native/ into build/mutants-native/. For each mutant it changes one place, builds and runs the tests
of the mutant, and restores the place. It fails if a place does not occur exactly once, if a mutant does not
compile, and if a mutant survives. A test that hangs for five minutes counts as failed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants-native"
SOURCE, BUILD = WORK / "source", WORK / "build"
COPIED = ("CMakeLists.txt", "pyproject.toml", "LICENSE", "native", "tests/native/golden")
LIST = Path(__file__).with_suffix(".toml")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutant:
    """Replaces ``was`` by ``now`` in ``file`` of native/src; one of the ctest ``tests`` must fail."""

    name: str
    file: str
    was: str
    now: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def main() -> int:
    names = set(sys.argv[1:])
    prepare()
    selected = [mutant for mutant in mutants() if not names or mutant.name in names]
    if not tests_pass(sorted({test for mutant in selected for test in mutant.tests})):
        raise SystemExit("the tests fail on the unchanged sources")
    survived = []
    for mutant in selected:
        result = run_mutant(mutant)
        survived += [mutant.name] if result == "survived" else []
        print(f"{result:10} {mutant.name} ({mutant.file})", flush=True)
    print(f"{len(survived)} survived")
    return 1 if survived else 0


def prepare() -> None:
    """Copies changed sources, so that the last build compiles only these."""
    for name in COPIED:
        source, target = ROOT / name, SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            for file in (path for path in source.rglob("*") if path.is_file()):
                update(file, target / file.relative_to(source))
        else:
            update(source, target)
    cached = [
        f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX") if shutil.which("ccache")
    ]
    run("cmake", "-S", SOURCE, "-B", BUILD, "-G", "Ninja", "-DKAREC_TESTS=ON", *cached, check=True)


def update(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def run_mutant(mutant: Mutant) -> str:
    path = SOURCE / "native" / "src" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.was) != 1:
        raise SystemExit(
            f"{mutant.name}: {mutant.was!r} occurs {text.count(mutant.was)} times in {mutant.file}, expected "
            f"once"
        )
    try:
        path.write_text(text.replace(mutant.was, mutant.now), encoding="utf-8")
        return "survived" if tests_pass(mutant.tests) else "killed"
    finally:
        path.write_text(text, encoding="utf-8")


def tests_pass(tests: Sequence[str]) -> bool:
    targets = [test if test.startswith("fuzz") else f"test_{test}" for test in tests]
    run("cmake", "--build", BUILD, "--target", *targets, check=True)
    pattern = f"^({'|'.join(tests)})$"
    return (
        run(
            "ctest", "--test-dir", BUILD, "-R", pattern, "--no-tests=error", "--timeout", TIMEOUT_S
        ).returncode
        == 0
    )


def run(*command: object, check: bool = False) -> subprocess.CompletedProcess[bytes]:
    process = subprocess.run([*map(str, command)], capture_output=True, check=False)
    if check and process.returncode != 0:
        raise SystemExit(process.stdout.decode() + process.stderr.decode())
    return process


if __name__ == "__main__":
    sys.exit(main())
