"""An installed karec, as projects outside the tree meet it: CMake, pkg-config, C++ and C, shared and
static."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from cpp_programs import ROOT, run, tool
from demo_folder import write_demo_folder
from doc_pages import run_page
from small_bundle import publish_small_bundle

import karec
from karec.bundle import Bundle
from karec.config.host_stage import export_stages

SYSTEM = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "libpthread.so.0", "libdl.so.2"}
C_ONLY = """
cmake_minimum_required(VERSION 3.24)
project(host LANGUAGES C)
find_package(karec 0.1 REQUIRED)
add_executable(host_c host.c)
target_link_libraries(host_c PRIVATE karec::karec)
"""
STATIC = """
cmake_minimum_required(VERSION 3.24)
project(host LANGUAGES CXX)
set(karec_USE_STATIC_LIBS ON)
find_package(karec REQUIRED)
add_executable(host host.cpp)
target_link_libraries(host PRIVATE karec::karec)
"""
FETCHED = f"""
cmake_minimum_required(VERSION 3.24)
project(host LANGUAGES CXX)
include(FetchContent)
FetchContent_Declare(karec SOURCE_DIR {ROOT})
FetchContent_MakeAvailable(karec)
add_executable(host host.cpp)
target_link_libraries(host PRIVATE karec::karec)
"""
STAGES = """
bundle = "bundles"
[scenes.home]
[[scenes.home.stages]]
name = "prerank"
steps = [
    { use = "index_rows" }, { use = "has_embedding" }, { use = "inner_product", k = 12 },
    { use = "not_shown" },
]
[[scenes.home.stages]]
name = "rank"
steps = [{ use = "ranker" }, { use = "fusion", weights = { click = 1, like = 2 } }, { use = "top_k", k = 6 }]
[[scenes.home.stages]]
name = "rerank"
steps = [{ use = "dpp", k = 5 }, { use = "page_rules", k = 3, rules = [{ column = "creator_id" }] }]
"""


@pytest.fixture(scope="module")
def prefix(cmake, native_programs, tmp_path_factory):
    """Folder where karec is installed."""
    folder = tmp_path_factory.mktemp("prefix")
    build = native_programs.parents[1]
    run(cmake, "--build", build, "--target", "karec", "karec_shared")
    run(cmake, "--install", build, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    folder = tmp_path_factory.mktemp("platform")
    publish_small_bundle(folder)
    (folder / "karec.toml").write_text(STAGES)
    export_stages(folder / "karec.toml", "home", (), folder / "stage.json")
    return folder


def library(prefix):
    (path,) = prefix.glob("lib*/libkarec.so")
    return path


def examples(prefix):
    """Returns the folder of the installed examples, a CMake project."""
    return prefix / "share" / "karec" / "examples"


def build_project(cmake, prefix, source, build):
    ninja = f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"
    run(cmake, "-S", source, "-B", build, "-G", "Ninja", ninja, f"-DCMAKE_PREFIX_PATH={prefix}")
    run(cmake, "--build", build)


def ask(program, platform, *arguments, **options):
    (onnx_runtime,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    return run(program, platform / "bundles", platform / "stage.json", onnx_runtime, *arguments, **options)


@pytest.mark.slow
def test_installed_examples_build_and_recommend(cmake, prefix, platform, tmp_path):
    build_project(cmake, prefix, examples(prefix), tmp_path / "build")
    snapshot = Bundle.open(platform / "bundles").snapshot
    user, works = snapshot.users.ids[0], np.asarray(snapshot.works.ids)
    cpp = ask(tmp_path / "build" / "host", platform, user)
    c = ask(tmp_path / "build" / "host_c", platform, user, *works, 10**15)
    pages = [re.findall(r"^ *(?:\d+ +)?(\d+)  (-?\d\.\d+)$", text, re.M) for text in (cpp, c)]
    assert pages[0] == pages[1] and len(pages[0]) == 3
    assert f"{len(works) + 1} items, 1 unknown" in c
    users = snapshot.users.ids[:5].tolist()
    served = ask(tmp_path / "build" / "thread_pool", platform, 3, *users)
    assert sorted(served.splitlines()) == sorted(f"user {user}: 3 items" for user in users)
    assert ask(tmp_path / "build" / "reload", platform, user, 20) == "model version 1: 0 failed\n"
    process = subprocess.run(
        [tmp_path / "build" / "host", *["/nowhere"] * 3, "1"], capture_output=True, check=False
    )
    assert process.returncode == 1 and b"/nowhere" in process.stderr


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("host", ["someone"]),
        ("host", ["3", "51x"]),
        ("host_c", ["", "51"]),
        ("host_c", ["3", "9223372036854775808"]),
        ("thread_pool", ["0", "3"]),
        ("thread_pool", ["-1", "3"]),
        ("thread_pool", ["two", "3"]),
        ("thread_pool", ["2", "3", "someone"]),
    ],
)
def test_examples_refuse_other_numbers_with_their_usage(cmake, native_programs, program, arguments):
    run(cmake, "--build", native_programs.parents[1], "--target", f"karec_{program}")
    path = native_programs.parent / "examples" / program
    process = subprocess.run(
        [path, *["/nowhere"] * 3, *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2 and process.stderr.startswith(f"usage: {program} BUNDLES")


@pytest.mark.parametrize(
    ("text", "program"), [(C_ONLY, "host_c"), (STATIC, "host")], ids=["only C", "static"]
)
def test_c_project_and_static_project_build(cmake, prefix, platform, tmp_path, text, program):
    (tmp_path / "CMakeLists.txt").write_text(text)
    for name in ("host.c", "host.cpp"):
        shutil.copy(examples(prefix) / name, tmp_path)
    build_project(cmake, prefix, tmp_path, tmp_path / "build")
    assert " items" in ask(tmp_path / "build" / program, platform, 3, 51, 52)
    needed = run("readelf", "-d", tmp_path / "build" / program)
    assert ("libkarec.so.0" in needed) == (program == "host_c")


@pytest.mark.slow
def test_fetch_content_builds_a_host(cmake, prefix, platform, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(FETCHED)
    shutil.copy(examples(prefix) / "host.cpp", tmp_path)
    build_project(cmake, prefix, tmp_path, tmp_path / "build")
    assert " items" in ask(tmp_path / "build" / "host", platform, 3)


def test_cpp_page_builds_a_host_that_selects_items(cmake, prefix, tmp_path, monkeypatch):
    write_demo_folder(tmp_path / "demo")
    monkeypatch.setenv("PREFIX", str(prefix))
    monkeypatch.setenv("CMAKE_GENERATOR", "Ninja")
    programs = (str(Path(tool(name)).parent) for name in ("cmake", "ninja"))
    monkeypatch.setenv("PATH", os.pathsep.join((*programs, os.environ["PATH"])))
    page = run_page("docs/cpp.md", tmp_path, replacements={"10000001": "1"})
    lines = page.output("host/build/host").splitlines()
    selected = [int(line.split()[0]) for line in lines if re.fullmatch(r"\d+ -?\d\.\d+", line)]
    with karec.open(tmp_path / "demo" / "karec.toml") as cascade:
        limits = [step.k for stage in cascade.stages[:2] for step in stage.steps if "k" in vars(step)]
        works = set(cascade.bundle.snapshot.works.ids.tolist())
    assert len(selected) == min(limits) == len({*selected} & works)


def test_pkg_config_flags_build_a_host(prefix, platform, tmp_path):
    if shutil.which("pkg-config") is None or shutil.which("cc") is None:
        pytest.skip("pkg-config and cc are needed: apt-get install pkg-config gcc")
    environment = {"PKG_CONFIG_PATH": str(library(prefix).parent / "pkgconfig"), "PATH": "/usr/bin:/bin"}
    flags = run("pkg-config", "--cflags", "--libs", "karec", env=environment).split()
    assert run("pkg-config", "--modversion", "karec", env=environment).strip() == karec.__version__
    run("cc", "-std=c99", examples(prefix) / "host.c", *flags, "-o", tmp_path / "host_c")
    environment["LD_LIBRARY_PATH"] = str(library(prefix).parent)
    assert " items" in ask(tmp_path / "host_c", platform, 3, 51, 52, env=environment)


def test_shared_library_exports_only_the_c_header(prefix):
    header = re.sub(r"/\*.*?\*/", "", (prefix / "include" / "karec" / "karec.h").read_text(), flags=re.S)
    declared = set(re.findall(r"\b(karec_\w+)\(", header))
    dynamic = run("readelf", "-d", library(prefix))
    assert re.findall(r"SONAME.*\[(.*)\]", dynamic) == ["libkarec.so.0"]
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
    assert {name for name in needed if not name.startswith("ld-linux")} <= SYSTEM
    symbols = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library(prefix)).splitlines()]
    assert {name for name in symbols if not name.startswith("_Z")} == declared


def declared_in_cpp(prefix):
    """Returns (classes, functions) that the C++ headers export by KAREC_API."""
    text = "".join(path.read_text() for path in sorted((prefix / "include" / "karec").glob("*.hpp")))
    text = re.sub(r"//.*", "", text)
    classes = set(re.findall(r"\b(?:class|struct) KAREC_API (\w+)", text))
    return classes, set(re.findall(r"(~?\b\w+|\boperator=)\(", text))


def test_shared_library_exports_only_declared_cpp_symbols(prefix):
    classes, functions = declared_in_cpp(prefix)
    assert {"ItemIndex", "Stages"} <= classes and {"reload", "arrange"} <= functions
    undeclared, exported = [], set()
    for line in run("nm", "-DC", "--defined-only", library(prefix)).splitlines():
        _, kind, name = line.split(maxsplit=2)
        if re.fullmatch(r"karec_\w+", name):
            continue
        # A suffix after the arguments, as in f()::x, names an object inside a function.
        symbol = re.fullmatch(
            r"karec::(?:(\w+)::)?(~?\w+|operator=)(?:\[abi:cxx11\])?\(.*\)(?: "
            r"const)?",
            name,
        )
        inside = symbol is None or ")::" in name
        if kind != "T" or inside or symbol[2] not in functions or symbol[1] not in {None, *classes}:
            undeclared.append(line)
        else:
            exported.add(symbol[2])
    assert undeclared == []
    assert {"reload", "arrange", "freshness", "active_isa"} <= exported
