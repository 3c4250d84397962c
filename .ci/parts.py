"""Prints the parts of `make test-all` that a CI run tests after `make test`, one make command a line.

A part is chosen if a file that it tests changed since the last landing; one more part is chosen in turn, by
the number of commits. Changed means: since the newest commit that is older than four hours, because a landing
is at most a few hours of work. `python3 .ci/parts.py --all` prints every part.
"""

import subprocess
import sys

# make command, and the paths that it tests
PARTS = (
    ("sanitize-address", ("native/",)),
    ("test-packages", ("setup.py", "pyproject.toml", "CMakeLists.txt", "MANIFEST.in", "native/cmake/")),
    ("test-long", ("karec/", "kernels/", "tests/")),
    ("sanitize-thread", ("native/",)),
    ("test-assertions", ("native/python/", "kernels/")),
    ("fuzz", ("native/src/c_api/", "native/src/base/", "native/src/index/")),
    ("fuzz-bundle", ("karec/bundle/",)),
    ("fuzz-cascades", ("karec/cascade.py", "karec/stage.py", "karec/_contract.py", "karec/types.py")),
)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def changed_files() -> list[str]:
    """Returns paths that changed since the last landing; all tracked paths if the history is too short."""
    base = _git("rev-list", "-1", "--before=4 hours ago", "HEAD").strip()
    if not base:
        return _git("ls-files").split("\n")
    return _git("diff", "--name-only", base, "HEAD").split("\n")


def long_test_folders(changed: list[str]) -> list[str]:
    """Returns the folders of tests/ that mirror the changed files."""
    folders = set(_git("ls-files", "tests").split("\n"))
    existing = {"/".join(path.split("/")[:2]) for path in folders if path.count("/") > 1}
    inside = [path for path in changed if path.startswith(("karec/", "tests/")) and path.count("/") > 1]
    names = {path.split("/")[1] for path in inside}
    return sorted(f"tests/{name}" for name in names if f"tests/{name}" in existing)


def main() -> None:
    names = [name for name, _ in PARTS]
    if sys.argv[1:] == ["--all"]:
        print("\n".join(names))
        return
    changed = changed_files()
    turn = int(_git("rev-list", "--count", "HEAD")) % len(names)
    due = [name for name, paths in PARTS if any(path.startswith(paths) for path in changed)]
    if names[turn] not in due:
        due.append(names[turn])
    for name in due:
        folders = long_test_folders(changed) if name == "test-long" and turn != names.index(name) else []
        print(f"{name} TESTS='{' '.join(folders)}'" if folders else name)


if __name__ == "__main__":
    main()
