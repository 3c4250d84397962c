"""Prints the parts of `make test-all` that a CI run tests after `make test`, one make command a line.

First the part whose turn it is, by the number of commits, then each part that tests a file which changed
since the last landing. A landing is at most a few hours of work, so these are the files that changed in the
four hours before the newest commit. `python3 .ci/parts.py --all` prints every part.
"""

import subprocess
import sys

LANDING_S = 4 * 3600
# make command, and the paths that it tests
PARTS = (
    ("sanitize-address", ("native/",)),
    ("test-packages", ("setup.py", "pyproject.toml", "CMakeLists.txt", "MANIFEST.in", "native/cmake/")),
    ("test-assertions", ("native/", "kernels/")),
    ("sanitize-thread", ("native/",)),
    ("test-arm", ("native/src/kernels/", "native/tests/kernels/", "native/cmake/")),
    ("fuzz-bindings", ("native/python/", "kernels/")),
    ("fuzz-bundle", ("karec/bundle/", "karec/models/")),
    (
        "fuzz-cascades",
        (
            "karec/pipeline/cascade.py",
            "karec/pipeline/step.py",
            "karec/pipeline/checks.py",
            "karec/pipeline/types.py",
        ),
    ),
    ("fuzz", ("native/src/c_api/", "native/src/base/", "native/src/index/")),
    (
        "test-hosts",
        (
            "karec/online/",
            "karec/serve/",
            "karec/bundle/remote.py",
            "deploy/haproxy.cfg",
            "tests/many_hosts/",
        ),
    ),
    ("test-long", ("karec/", "kernels/", "native/", "tests/")),
)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def changed_files() -> list[str]:
    """Returns paths that changed since the last landing; all tracked paths if the history is too short."""
    before = int(_git("log", "-1", "--format=%ct")) - LANDING_S
    base = _git("rev-list", "-1", f"--before=@{before}", "HEAD")
    return _git("diff", "--name-only", base, "HEAD").split("\n") if base else _git("ls-files").split("\n")


def long_tests(changed: list[str]) -> list[str]:
    """Returns the folders of tests/ that mirror the changed files, and the test files beside them."""
    tests = _git("ls-files", "tests").split("\n")
    folders = {path.split("/")[1] for path in tests if path.count("/") > 1}
    names = {path.split("/")[int(path.startswith(("karec/", "tests/")))] for path in changed}
    files = [path for path in tests if path.startswith("tests/test_") and path.count("/") == 1]
    return sorted(f"tests/{name}" for name in names & folders) + files


def main() -> None:
    names = [name for name, _ in PARTS]
    if sys.argv[1:] == ["--all"]:
        print("\n".join(names))
        return
    changed = changed_files()
    turn = names[int(_git("rev-list", "--count", "HEAD")) % len(names)]
    print(turn)
    for name, paths in PARTS:
        if name != turn and any(path.startswith(paths) for path in changed):
            print(f"{name} TESTS='{' '.join(long_tests(changed))}'" if name == "test-long" else name)


if __name__ == "__main__":
    main()
