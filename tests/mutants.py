"""Mutation tests: small breakages of karec's Python code, one at a time, and whether the tests notice each.

    python tests/mutants.py [--sample N] [--processes P] [--seconds S] [--write] [package …]

mutmut makes the breakages and runs, for each, the tests that reach the function, fastest first, five seconds
of them. It works on a copy in build/mutants/; what was killed there stays killed until its function changes,
everything else runs again. A run of all packages writes build/mutants.md, and so does --write, of all that
was tried so far; packages by name, or a sample (N of each package, the same ones as long as the code is the
same), print what they found. Settings: [tool.mutmut] in pyproject.toml. Why a survivor may live:
tests/survivors.toml.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import os
import random
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutants"
REASONS = ROOT / "tests" / "survivors.toml"
PAGE = ROOT / "build" / "mutants.md"
LINKED = ("karec", "tests", "docs", "pyproject.toml")
PACKAGES = {  # as in the table → the modules
    "bundle": ("karec.bundle.",),
    "steps": ("karec.steps.",),
    "exposure": ("karec.exposure.",),
    "pipeline": ("karec.pipeline.",),
    "config": ("karec.config.", "karec.toml."),
    "logs": ("karec.logs.",),
    "aggregates": ("karec.aggregates.",),
    "index": ("karec.index.",),
}
# keyword arguments that change nothing as long as the code around them is right
SILENT = {"strict", "stacklevel"}
LIVED = {0, 5, 33}  # exit codes: the tests passed; there are none
TIMEOUTS = {-24, 24, 36, 152}  # exit codes: SIGXCPU


# -- what mutmut changes
# --------------------------------------------------------------------------------------------


def change_string(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """A name or key becomes another; text for people (it has a space) stays."""
    if isinstance(node, cst.SimpleString) and " " not in node.value and len(node.raw_value) > 0:
        yield node.with_changes(value=f"{node.prefix}{node.quote}XX{node.raw_value}XX{node.quote}")


def change_arguments(node: cst.Call) -> Iterator[cst.Call]:
    """As mutmut does it, but for the keyword arguments in SILENT."""
    silent = [arg for arg in node.args if arg.keyword is not None and arg.keyword.value in SILENT]
    for changed in mutators.operator_arg_removal(node):
        if all(arg in changed.args for arg in silent):
            yield changed


def remove_call(node: cst.Expr) -> Iterator[cst.Pass]:
    """A call whose value nobody takes is not made: no sync, no check, no close."""
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def remove_context(node: cst.With) -> Iterator[cst.If]:
    """The body of a ``with`` that names nothing runs without it: no lock."""
    if all(item.asname is None for item in node.items):
        yield cst.If(test=cst.Name("True"), body=node.body)


def extend_mutmut(most_s: float) -> None:
    """Adds the two removals, leaves out text and keyword arguments that cannot matter, chooses tests by
    time."""
    replaced = (mutators.operator_string, mutators.operator_arg_removal)
    operators = [pair for pair in mutators.mutation_operators if pair[1] not in replaced]
    operators += [(cst.BaseString, change_string), (cst.Call, change_arguments)]
    operators += [(cst.Expr, remove_call), (cst.With, remove_context)]
    mutators.mutation_operators[:] = operators  # type: ignore[index]
    file_mutation.NEVER_MUTATE_FUNCTION_CALLS.add("cast")
    skips = file_mutation.MutationVisitor._skip_node_and_children
    run_tests = PytestRunner.run_tests

    def skip(self: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Arg) and node.keyword is not None and node.keyword.value in SILENT:
            return True
        return skips(self, node)

    def fastest_first(self: PytestRunner, *, mutant_name: str | None, tests: Sequence[str]) -> int:
        gc.freeze()  # what the fork inherits is not looked at, and so not copied, by the garbage collector
        seconds = state().duration_by_test
        ordered = sorted(tests, key=seconds.__getitem__)
        if mutant_name is not None:
            if not mutant_name.startswith("karec.bundle."):
                # A replay takes a second, and is the same for each mutant of another package. Imported by the
                # tests alone.
                sys.modules["karec.bundle.bundle"].run_smoke_once = lambda folder, manifest: None  # type: ignore[attr-defined]
            spent = accumulate(seconds[test] for test in ordered)
            ordered = [
                test for test, until in zip(ordered, spent, strict=True) if until <= most_s
            ] or ordered[:1]
        return run_tests(self, mutant_name=mutant_name, tests=ordered)

    file_mutation.MutationVisitor._skip_node_and_children = skip  # type: ignore[method-assign]
    PytestRunner.run_tests = fastest_first  # type: ignore[method-assign, assignment]


# -- the run
# --------------------------------------------------------------------------------------------------------


def prepare() -> None:
    """The folder that mutmut works in: links to what it copies. What other operators found does not count,
    nor which tests reached a function before the code changed.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    operators = "".join(
        map(inspect.getsource, (change_string, change_arguments, remove_call, remove_context))
    )
    made_by = WORK / "operators.txt"
    if not made_by.exists() or made_by.read_text() != operators + inspect.getsource(extend_mutmut):
        shutil.rmtree(WORK / "mutants", ignore_errors=True)
        made_by.write_text(operators + inspect.getsource(extend_mutmut))
    # which tests reach a function: mutmut adds new tests alone
    reached = WORK / "mutants" / "mutmut-stats.json"
    if reached.exists() and any(
        p.stat().st_mtime > reached.stat().st_mtime for p in ROOT.glob("karec/**/*.py")
    ):
        reached.unlink()
    for name in LINKED:
        link = WORK / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    os.chdir(WORK)


def generate(processes: int) -> dict[str, int | None]:
    """Writes all mutants; name → exit code of the tests, None where they did not run yet."""
    Path("mutants").mkdir(exist_ok=True)
    mutmut.set_mutant_under_test("mutant_generation")
    with mutmut.CatchOutput(spinner_title="Generating mutants"):
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.create_mutants(processes)
    return results()


def results() -> dict[str, int | None]:
    mutants, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
    return {name: code for _, name, code in mutants}


def of_package(package: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(PACKAGES[package])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sample", type=int, default=0, metavar="N", help="N mutants of each package instead of all"
    )
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--write", action="store_true", help="build/mutants.md too, from all that was tried so far"
    )
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of tests for a mutant")
    parser.add_argument(
        "packages", nargs="*", metavar="package", help=f"of {', '.join(PACKAGES)}; all by default"
    )
    options = parser.parse_args()
    packages = options.packages or list(PACKAGES)
    unknown = sorted(set(packages) - set(PACKAGES))
    if unknown:
        parser.error(f"no package {unknown[0]!r}: it must be one of {', '.join(PACKAGES)}")
    extend_mutmut(options.seconds)
    prepare()
    known = generate(options.processes)
    chosen: list[str] = []
    for package in packages:
        names = sorted(of_package(package, list(known)))
        if options.sample and options.sample < len(names):
            names = random.Random(package).sample(names, options.sample)
        chosen += names
    todo = tuple(name for name in chosen if kind(known[name]) != "killed")
    if todo:
        memory = "/dev/shm"  # files that tests write; a disk that syncs them takes most of the time
        with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            mutmut._run(todo, options.processes)
    codes = {name: code for name, code in results().items() if name in set(chosen)}
    print("\n".join(table(codes, packages)))
    for package in packages:
        for one in survivors(package, codes):
            print(f"\n{one.name}\n  - {one.was}\n  + {one.now}")
    if options.write or (not options.sample and packages == list(PACKAGES)):
        write_page(results())


# -- the table
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed: its name, the function, and the lines that were there and that came
    instead."""

    name: str
    function: str
    was: str
    now: str


def kind(code: int | None) -> str:
    """killed, survived (also where no test reaches the function) or timeout; "" where the tests did not
    run."""
    if code is None:
        return ""
    return "survived" if code in LIVED else "timeout" if code in TIMEOUTS else "killed"


def survivor(name: str) -> Survivor:
    """Its lines, without the blanks around them, so that they are found again when other lines move."""
    function, owner = orig_function_and_class_names_from_key(name)
    module = name.partition(".x")[0].removeprefix("karec.").replace(".", "/") + ".py"
    lines = get_diff_for_mutant(name).splitlines()[3:]
    was, now = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Survivor(name, f"{module} {owner + '.' if owner else ''}{function}", was, now)


def reasons() -> dict[tuple[str, str, str], str]:
    """(function, was, now) → why no test need notice."""
    entries = tomllib.loads(REASONS.read_text()).get("survivor", []) if REASONS.exists() else []
    return {(entry["function"], entry["was"], entry["now"]): entry["why"] for entry in entries}


def table(codes: dict[str, int | None], packages: Sequence[str]) -> list[str]:
    """Of each package the mutants that there are, those that were tried, and what became of them."""
    lines = [
        "| package | mutants | tried | killed | timeout | survived | score |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    total: Counter[str] = Counter()
    for package in packages:
        counts = Counter(kind(codes[name]) for name in of_package(package, list(codes)))
        total += counts
        lines.append(row(f"`{package}`", counts))
    return [*lines, row("all", total)]


def row(package: str, counts: Counter[str]) -> str:
    noticed = counts["killed"] + counts["timeout"]
    tried = noticed + counts["survived"]
    score = f"{100 * noticed / tried:.1f} %" if tried else "–"
    numbers = (tried + counts[""], tried, counts["killed"], counts["timeout"], counts["survived"])
    return f"| {package} | {' | '.join(map(str, numbers))} | {score} |"


def survivors(package: str, codes: dict[str, int | None]) -> list[Survivor]:
    return [survivor(name) for name in of_package(package, list(codes)) if kind(codes[name]) == "survived"]


def write_page(codes: dict[str, int | None]) -> None:
    """Writes build/mutants.md: the table, then each survivor with its reason."""
    why = reasons()
    lines = ["# Mutation tests", "", *table(codes, list(PACKAGES)), "", "## Survivors", ""]
    for package in PACKAGES:
        left = survivors(package, codes)
        lines += [f"### {package}", ""] if left else []
        for one in left:
            reason = why.get((one.function, one.was, one.now), "**no reason yet**")
            lines += [f"`{one.function}`: {reason}", "", "```diff", f"- {one.was}", f"+ {one.now}", "```", ""]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
