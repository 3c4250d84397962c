"""Mutation tests of the C++ library: breakages by hand (mutants.toml), one at a time; whether its tests
notice each.

    python tests/native/mutants.py [name …]

Copies native/ into build/mutants-native/, and for each breakage changes one place, builds the tests named
beside it, runs them, and changes the place back. Fails when a place is no longer there exactly once, when a
breakage does not compile, and when one survives. Tests that hang for five minutes have noticed.
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
LONGEST_S = 300


@dataclass(frozen=True)
class Breakage:
    """In ``file`` (below native/src) ``was`` becomes ``now``; one of ``tests``, by their ctest names, has to
    notice."""

    name: str
    file: str
    was: str
    now: str
    tests: tuple[str, ...]


def breakages() -> list[Breakage]:
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["breakage"]
    return [Breakage(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def main() -> int:
    wanted = set(sys.argv[1:])
    prepare()
    chosen = [each for each in breakages() if not wanted or each.name in wanted]
    if not tests_pass(sorted({test for each in chosen for test in each.tests})):
        raise SystemExit("the tests fail on the sources as they are")
    survived = []
    for each in chosen:
        result = verdict(each)
        survived += [each.name] if result == "survived" else []
        print(f"{result:10} {each.name} ({each.file})", flush=True)
    print(f"{len(survived)} survived")
    return 1 if survived else 0


def prepare() -> None:
    """A fresh copy of the sources beside the build of the last time, which compiles again only what
    differs."""
    for name in COPIED:
        source, to = ROOT / name, SOURCE / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            for file in (path for path in source.rglob("*") if path.is_file()):
                update(file, to / file.relative_to(source))
        else:
            update(source, to)
    cached = [
        f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX") if shutil.which("ccache")
    ]
    run("cmake", "-S", SOURCE, "-B", BUILD, "-G", "Ninja", "-DKAREC_TESTS=ON", *cached, check=True)


def update(source: Path, to: Path) -> None:
    if not to.exists() or to.read_bytes() != source.read_bytes():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)


def verdict(each: Breakage) -> str:
    path = SOURCE / "native" / "src" / each.file
    text = path.read_text(encoding="utf-8")
    if text.count(each.was) != 1:
        raise SystemExit(
            f"{each.name}: {each.was!r} stands {text.count(each.was)} times in {each.file}, expected once"
        )
    try:
        path.write_text(text.replace(each.was, each.now), encoding="utf-8")
        return "survived" if tests_pass(each.tests) else "killed"
    finally:
        path.write_text(text, encoding="utf-8")


def tests_pass(tests: Sequence[str]) -> bool:
    targets = [test if test.startswith("fuzz") else f"test_{test}" for test in tests]
    run("cmake", "--build", BUILD, "--target", *targets, check=True)
    pattern = f"^({'|'.join(tests)})$"
    return (
        run(
            "ctest", "--test-dir", BUILD, "-R", pattern, "--no-tests=error", "--timeout", LONGEST_S
        ).returncode
        == 0
    )


def run(*command: object, check: bool = False) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return done


if __name__ == "__main__":
    sys.exit(main())
