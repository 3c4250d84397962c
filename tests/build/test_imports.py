"""The import rules (contracts in pyproject.toml), and an import that violates each of them."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
with open(ROOT / "pyproject.toml", "rb") as file:
    CONTRACTS = tomllib.load(file)["tool"]["importlinter"]["contracts"]

# (a module, what it may not import, the contract that says so)
A_MODULE_OF = {
    "index": "index.rows",
    "pipeline": "pipeline.trace",
    "aggregates": "aggregates.rates",
    "features": "features.table",
    "logs": "logs.parts",
    "online": "online.poll",
    "experiments": "experiments.assignment",
    "exposure": "exposure.rates",
    "samples": "samples.lists",
    "data": "data.load",
    "bundle": "bundle.manifest",
    "steps": "steps.shared.postings",
    "refresh": "refresh.publish_run",
    "screening": "screening.day",
    "evaluate": "evaluate.tables",
}
LAYERS = [
    ["index", "pipeline", "aggregates"],
    ["features", "logs", "online"],
    ["exposure", "samples", "data", "bundle"],
    ["steps", "refresh", "screening", "evaluate", "experiments"],
]
SIBLINGS = [
    (f"karec.{A_MODULE_OF[one]}", f"karec.{A_MODULE_OF[other]}", "layers")
    for layer in LAYERS
    for one, other in zip(layer, layer[1:] + layer[:1], strict=True)
]
UPWARDS = [
    ("karec.pipeline.step", "karec.index", "layers"),
    ("karec.pipeline.cascade", "karec.config", "layers"),
    ("karec.catalog.table", "karec.features.table", "layers"),
    ("karec.features.table", "karec.logs.read", "layers"),
    ("karec.index.item_index", "karec.bundle", "layers"),
    ("karec.catalog.snapshot", "karec.index.ids", "layers"),
    ("karec.bundle.bundle", "karec.steps.sources.model", "layers"),
    ("karec.steps.sources.model", "karec.config.scenes", "layers"),
    ("karec.config.scenes", "karec.lab.simulate.arms", "layers"),
    ("karec.samples.examples", "karec.evaluate.tables", "layers"),
    ("karec.evaluate.quality", "karec.learn.settings", "layers"),
    ("karec.evaluate.funnel", "karec.lab.studies.scenes", "layers"),
    ("karec.serve.service", "karec.lab.studies.scenes", "layers"),
    ("karec.lab.studies.scenes", "karec.serve.service", "layers"),
    ("karec.data.load", "karec.lab.simulate.world.tastes", "layers"),
    ("karec.learn.settings.settings", "karec.lab.simulate.arm_log", "layers"),
    ("karec.lab.simulate.arm_log", "karec.cli", "layers"),
    ("karec.learn.settings.settings", "karec.cli", "layers"),
    ("karec.kernels.reference", "karec.pipeline.types", "layers"),
    ("karec.client", "karec.pipeline.types", "layers"),
    ("karec.errors", "karec.pipeline.types", "layers"),
]
OUTSIDE = [
    *(
        ("karec.index.item_index", package, "learning-stays-home")
        for package in ("torch", "onnx", "lightgbm")
    ),
    *(("karec.refresh.item_vectors", "karec.learn.nets", "learning-is-a-process"),),
    *(("karec.lab.simulate.world.people", "karec.learn.nets", "learning-is-a-process"),),
    *(
        ("karec.steps.sources.profile", package, "packages")
        for package in ("numba", "onnxruntime", "pyarrow")
    ),
    *(("karec.lab.studies.scenes", package, "packages") for package in ("rich", "matplotlib")),
    *(("karec.catalog.snapshot", package, "packages") for package in ("duckdb", "valkey", "ray")),
    *(("karec.bundle.publish", package, "packages") for package in ("cryptography", "onnxruntime")),
    ("karec.data.tables", "duckdb", "packages"),
    ("karec.online.read_state", "pyarrow", "packages"),
    ("karec.online.read_state", "valkey", "packages"),
    ("karec.screening.day", "duckdb", "packages"),
    ("karec.screening.levels", "scipy", "packages"),
    ("karec.screening.quality", "onnxruntime", "packages"),
    *(("karec.config.scenes", package, "packages") for package in ("starlette", "uvicorn")),
    *(("karec.client", package, "packages") for package in ("httptools", "uvloop")),
    ("karec.pipeline.types", "numba", "vocabulary"),
    ("karec.evaluate.metrics.exposure", "karec.catalog.table", "measures"),
    ("karec.learn.fit.checkpoint", "karec.learn.run.train", "learning"),
    ("karec.kernels.scoring", "onnxruntime", "kernels"),
    *(("karec.models.onnx_model", package, "not-of-the-package") for package in ("bench", "tests")),
]
FORBIDDEN = [*SIBLINGS, *UPWARDS, *OUTSIDE]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder that holds the package as it is installed: kernels/ inside karec/."""
    folder = tmp_path_factory.mktemp("package")
    built = ["*.so", "__pycache__"]
    shutil.copytree(ROOT / "karec", folder / "karec", ignore=shutil.ignore_patterns(*built, "kernels"))
    shutil.copytree(ROOT / "kernels", folder / "karec" / "kernels", ignore=shutil.ignore_patterns(*built))
    return folder


def lint(folder):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    arguments = [str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo"]
    path = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=path, capture_output=True, text=True, check=False
    )


def plant(folder, module, imported):
    """An import inside a function, at the end of ``module``."""
    with open(folder.joinpath(*module.split(".")).with_suffix(".py"), "a") as file:
        file.write(f"\n\ndef planted():\n    import {imported}\n")


def test_import_rules_are_satisfied(package):
    done = lint(package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in done.stdout


@pytest.fixture(scope="module")
def broken(package, tmp_path_factory):
    """{a contract's name: what the linter reports of it} once every forbidden import is planted."""
    folder = shutil.copytree(package, tmp_path_factory.mktemp("broken"), dirs_exist_ok=True)
    for module, imported, _ in FORBIDDEN:
        plant(folder, module, imported)
    done = lint(folder)
    assert done.returncode != 0
    names = [contract["name"] for contract in CONTRACTS]
    report = done.stdout.partition("Broken contracts\n")[2]
    result, name = {}, ""
    for line in report.splitlines():
        name = line if line in names else name
        result[name] = result.get(name, "") + line + "\n"
    return result


@pytest.mark.parametrize(("module", "imported", "rule"), FORBIDDEN)
def test_import_rule_refuses_a_forbidden_import(broken, module, imported, rule):
    """The linter names the rule if a module has the forbidden import."""
    (name,) = [contract["name"] for contract in CONTRACTS if contract["id"] == rule]
    assert f"{module} -> {imported} (l." in broken[name], broken[name]


def test_import_rules_have_a_forbidden_example_each(broken):
    assert {rule for _, _, rule in FORBIDDEN} == {contract["id"] for contract in CONTRACTS} - {"no-circles"}


GRAPH = """
import grimp, json
graph = grimp.build_graph("karec", include_external_packages=True, cache_dir=None)
print(json.dumps({module: sorted(graph.find_modules_directly_imported_by(module)) for module in graph.modules}))
"""


def imports_of(folder):
    """Returns {module: its imports}, with those in functions and for types; external packages by name."""
    command, path = [sys.executable, "-c", GRAPH], {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def circles(imports):
    """Returns the import cycles: sets of modules that import each other, directly or indirectly.

    ``karec`` itself is left out: only for type checkers it imports the public names of its packages.
    """
    within = {
        module: [other for other in others if other.startswith("karec.")]
        for module, others in imports.items()
    }
    reached = {}
    for module in within:
        result, todo = set(), [module]
        while todo:
            new = set(within[todo.pop()]) - result
            result |= new
            todo += new
        reached[module] = result
    return {
        frozenset(other for other in reached[m] if m in reached[other]) for m in within if m in reached[m]
    }


def test_modules_have_no_import_cycle(package):
    assert circles({m: others for m, others in imports_of(package).items() if m != "karec"}) == set()


@pytest.mark.parametrize("where", ["def planted():", "if TYPE_CHECKING:"])
def test_import_cycle_is_found_in_functions_and_type_checking(package, tmp_path, where):
    folder = shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    with open(folder / "karec" / "catalog" / "table.py", "a") as file:
        file.write(f"\n\nfrom typing import TYPE_CHECKING\n\n{where}\n    import karec.catalog.snapshot\n")
    assert {"karec.catalog.table", "karec.catalog.snapshot"} in circles(imports_of(folder))


def test_external_packages_have_an_import_rule(package):
    """A package that no contract names could be imported anywhere, as NumPy and msgspec may."""
    named = {name for contract in CONTRACTS for name in contract.get("forbidden_modules", [])}
    outside = {name for name in imports_of(package) if not name.startswith("karec")}
    assert outside - named - set(sys.stdlib_module_names) == {"numpy", "msgspec"}


def test_package_folders_have_an_init_file(package):
    """The import rules do not see a folder that lacks __init__.py."""
    folders = {path.parent for path in (package / "karec").rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []
