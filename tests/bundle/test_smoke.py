"""A bundle whose models cannot serve is refused, with the file that ran. Only a child process loads them
first."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from multiprocessing import spawn
from pathlib import Path

import numpy as np
import onnx
import pytest
from harmful_models import (
    CRASHING,
    ENDLESS,
    GREEDY,
    a_row_of,
    constant,
    crashing,
    endless,
    greedy,
    write_damaged,
)
from onnx import TensorProto, numpy_helper
from random_trees import random_tree, tree_node, write_model
from small_bundle import DIM, TASKS
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder, smoke
from karec.bundle.manifest import check_files
from karec.bundle.smoke import Limits, run_smoke
from karec.errors import BundleError
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.learn.export.trees import export_trees

OUTPUTS = {"user_tower.onnx": ("user_vector", DIM), "ranker.onnx": ("logits", len(TASKS))}
OUTPUTS["item_tower.onnx"] = ("item_vector", DIM)
GIVEN = {"user_tower.onnx": "user_numbers", "item_tower.onnx": "item_numbers", "ranker.onnx": "item_numbers"}
TIGHT = Limits(cpu_seconds=0.5, memory_bytes=256 << 20)
MODELS = sorted(OUTPUTS)


@pytest.fixture
def damaged(good, tmp_path):
    """A function that publishes the good bundle after ``damage(folder)``, so that every hash is right."""

    def publish(damage):
        def write(folder):
            shutil.copytree(good, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.*"))
            damage(folder)

        return publish_folder(tmp_path / "bundles", 1, write)

    return publish


def model(name, nodes, constants, **options):
    """Returns a damage: the model ``name`` consists of these nodes."""
    output, n = OUTPUTS[name]
    options = {"n": n, "given": GIVEN[name], "kind": name.removesuffix(".onnx"), **options}
    return lambda folder: write_damaged(folder / name, nodes, output, constants=constants, **options)


def harmful(name, make, constants):
    """Returns ``model`` of the nodes ``make(output)``, with its input in place of ``user_numbers``."""
    nodes = make(OUTPUTS[name][0])
    for node in nodes:
        node.input[:] = [GIVEN[name] if port == "user_numbers" else port for port in node.input]
    return model(name, nodes, {**constant(1, OUTPUTS[name][1]), **constants})


def test_smoke_child_prints_each_part_and_done(good):
    command = [sys.executable, "-m", "karec.bundle.smoke_child", good]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "ready" and lines[-1] == "done"
    assert {line.removeprefix("part ") for line in lines} >= OUTPUTS.keys()


def put_trees(folder):
    """Replaces the ranker of the bundle in ``folder`` by one tree. Returns its trees file."""
    node = tree_node([random_tree(np.random.default_rng(0), 5, 3)], "item_numbers", "logits")
    columns = Encoder.load(folder / "encoder.npz").inputs["item_numbers"][1][0]
    path = write_model(folder / "ranker.onnx", [node], {"item_numbers": columns})
    assert export_trees(path).n_trees == 1
    return path.with_name("ranker.trees.npz")


def test_bundle_with_trees_opens(damaged):
    assert Bundle.open(damaged(put_trees)).ranker.trees == 1


def test_trees_file_of_another_model_is_refused(damaged):
    def damage(folder):
        put_trees(folder)
        other = onnx.load(folder / "ranker.onnx")
        other.doc_string = "another file"
        onnx.save(other, folder / "ranker.onnx")

    message = r"ranker\.trees\.npz was made from another file than ranker\.onnx\. Remove it from the run"
    with pytest.raises(BundleError, match=message):
        Bundle.open(damaged(damage))


def test_damaged_trees_file_of_a_bundle_is_refused(damaged):
    def damage(folder):
        path = put_trees(folder)
        path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(
        BundleError, match=r"ranker\.trees\.npz is not a trees file, or a damaged one: it is truncated"
    ):
        Bundle.open(damaged(damage))


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_stops_and_names_a_model_that_never_ends(damaged, name):
    folder = damaged(harmful(name, endless, ENDLESS))
    with pytest.raises(
        BundleError,
        match=rf"{folder / name} does not end in a smoke run: stopped after 0\.5 s of processor time",
    ):
        run_smoke(folder, TIGHT)


def test_open_refuses_a_bundle_with_a_model_that_never_ends(damaged):
    folder = damaged(harmful("ranker.onnx", endless, ENDLESS))
    with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a smoke run"):
        Bundle.open(folder)
    with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a smoke run"):
        Bundle.shared(folder)


def test_open_without_verify_runs_no_model(damaged):
    folder = damaged(harmful("ranker.onnx", endless, ENDLESS))
    assert Bundle.open(folder, verify=False).ranker.tasks == TASKS


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_names_a_model_that_allocates_gigabytes(damaged, name):
    folder = damaged(harmful(name, greedy, GREEDY))
    with pytest.raises(BundleError, match=rf"{folder / name} (fails|ends the process) in a smoke run.*alloc"):
        run_smoke(folder, TIGHT)


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_names_a_model_that_crashes(damaged, name):
    folder = damaged(harmful(name, crashing, CRASHING))
    with pytest.raises(BundleError, match=rf"{folder / name} ends the process in a smoke run by SIGFPE"):
        run_smoke(folder)


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_refuses_weights_that_are_nan(damaged, name):
    def damage(folder):
        loaded = onnx.load(folder / name)
        for weight in loaded.graph.initializer:
            if weight.name.endswith(".weight"):
                values = np.full_like(numpy_helper.to_array(weight), np.nan)
                weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(loaded, folder / name)

    with pytest.raises(BundleError, match=rf"{name}: {OUTPUTS[name][0]} is not finite in a smoke run"):
        run_smoke(damaged(damage))


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_refuses_a_model_of_another_width(damaged, name):
    output, n = OUTPUTS[name]
    nodes = a_row_of(output, name=GIVEN[name])
    folder = damaged(model(name, nodes, constant(1, n + 1), n=n + 1))
    wrong = rf"{output} is float32 \(\d+, {n + 1}\), expected float32 \(\d+, {n}\)"
    with pytest.raises(BundleError, match=rf"{name}: {wrong}"):
        run_smoke(folder)


@pytest.mark.parametrize("name", MODELS)
def test_model_that_declares_another_input_width_is_refused(damaged, name):
    output, n = OUTPUTS[name]
    folder = damaged(model(name, a_row_of(output, name=GIVEN[name]), constant(1, n), width=99))
    expected = rf"{name} fails in a smoke run: .* for input: {GIVEN[name]} .* Expected: 99"
    with pytest.raises(BundleError, match=expected):
        run_smoke(folder)


def test_model_that_declares_another_input_dtype_is_refused(damaged):
    nodes = [onnx.helper.make_node("Cast", ["item_ids"], ["codes"], to=TensorProto.FLOAT)]
    nodes += a_row_of("logits", name="codes")
    folder = damaged(model("ranker.onnx", nodes, constant(1, len(TASKS)), given="item_ids"))
    with pytest.raises(BundleError, match=r"input 'item_ids' is int64, expected float32"):
        run_smoke(folder)


def test_smoke_run_refuses_an_output_with_another_number_of_rows(damaged):
    nodes = a_row_of("wide", name="item_numbers")
    nodes.append(onnx.helper.make_node("Gather", ["wide", "first"], ["logits"], axis=0))
    folder = damaged(model("ranker.onnx", nodes, {**constant(1, 3), "first": np.array([0])}))
    with pytest.raises(BundleError, match=r"logits is float32 \(1, 3\), expected float32 \(17, 3\)"):
        run_smoke(folder)


def test_smoke_run_refuses_an_output_of_another_dtype(damaged):
    nodes = a_row_of("narrow")
    nodes.append(onnx.helper.make_node("Cast", ["narrow"], ["user_vector"], to=TensorProto.DOUBLE))
    folder = damaged(model("user_tower.onnx", nodes, constant(1, DIM), told=TensorProto.DOUBLE))
    with pytest.raises(BundleError, match=r"user_vector is float64 \(1, 8\), expected float32"):
        run_smoke(folder)


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_refuses_a_model_with_an_unknown_input(damaged, name):
    output, n = OUTPUTS[name]
    folder = damaged(model(name, a_row_of(output, name="mood"), constant(1, n), given="mood"))
    with pytest.raises(BundleError, match=rf"{name} needs the input 'mood', got"):
        run_smoke(folder)


def test_smoke_run_refuses_a_model_without_the_served_output(damaged):
    def damage(folder):
        nodes = a_row_of("vector")
        write_damaged(folder / "user_tower.onnx", nodes, "vector", constants=constant(1, DIM), n=DIM)

    with pytest.raises(BundleError, match=r"user_tower\.onnx failed: .*Invalid output name:user_vector"):
        run_smoke(damaged(damage))


@pytest.mark.parametrize("name", MODELS)
def test_smoke_run_refuses_a_file_that_is_not_a_model(damaged, name):
    with pytest.raises(BundleError, match=rf"{name} does not load as an ONNX model"):
        run_smoke(damaged(lambda folder: (folder / name).write_bytes(b"\x08\x07 no model")))


def test_smoke_run_includes_user_towers_of_other_versions(damaged):
    def damage(folder):
        nodes = crashing("user_vector")
        constants = {**constant(1, DIM), **CRASHING}
        path = folder / "user_tower.v0000000002.onnx"
        write_damaged(path, nodes, "user_vector", constants=constants, version=2, n=DIM)

    with pytest.raises(BundleError, match=r"user_tower\.v0000000002\.onnx ends the process in a smoke run"):
        run_smoke(damaged(damage))


def test_smoke_run_includes_towers_on_an_example_without_an_encoder(tmp_path):
    """A bundle for C++ hosts has no encoder."""

    def towers(*damages):
        def write(folder):
            ItemIndex.build([1, 2], np.eye(2, 4, dtype=np.float32), model_version=7).save(
                folder / "index.karec"
            )
            write_user_tower(folder / "user_tower.onnx", 7, 4)
            for damage in damages:
                damage(folder)

        return write

    run_smoke(publish_folder(tmp_path / "good", 7, towers()))
    wide = publish_folder(
        tmp_path / "wide", 7, towers(lambda folder: write_user_tower(folder / "user_tower.onnx", 7, 5))
    )
    with pytest.raises(BundleError, match=r"user_vector is float32 \(1, 5\), expected float32 \(1, 4\)"):
        run_smoke(wide)


def test_open_runs_equal_content_once_per_process(good, tmp_path, monkeypatch):
    Bundle.open(good)
    copied = shutil.copytree(good, tmp_path / "copy")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", None)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)  # so that no child can be started
    assert Bundle.open(good).model_version == Bundle.open(copied).model_version == 1
    with pytest.raises(BundleError, match="names none"):
        run_smoke(good)


def test_smoke_run_without_an_interpreter_names_the_remedy(good, monkeypatch):
    before = multiprocessing.spawn.get_executable()
    remedy = (
        r"embeds Python, names none: call multiprocessing\.set_executable\(PATH\) first, or open .* "
        r"verify=False"
    )
    try:
        multiprocessing.set_executable("")
        with pytest.raises(BundleError, match=remedy):
            run_smoke(good)
        multiprocessing.set_executable("/bin/false")
        with pytest.raises(BundleError, match="cannot be verified: the process for it ended with status 1"):
            run_smoke(good)
        multiprocessing.set_executable("/nowhere/python")
        with pytest.raises(BundleError, match=r"cannot be verified: '/nowhere/python' does not start"):
            run_smoke(good)
    finally:
        multiprocessing.set_executable(before)
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # the executable is the application itself
    with pytest.raises(BundleError, match=remedy):
        run_smoke(good)


def test_smoke_run_imports_no_module_of_the_current_folder(good, tmp_path, monkeypatch):
    (tmp_path / "karec.py").write_text("raise SystemExit('the karec of the current folder')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('the numpy of the current folder')")
    monkeypatch.chdir(tmp_path)
    run_smoke(good)


def test_open_from_concurrent_threads_gives_separate_results(damaged, good):
    """Eight threads open a valid and a damaged bundle at the same time."""
    folder = damaged(harmful("ranker.onnx", crashing, CRASHING))
    outcomes, barrier = [], threading.Barrier(8)

    def ask(path):
        barrier.wait()
        try:
            outcomes.append(Bundle.open(path).model_version)
        except BundleError as error:
            outcomes.append(str(error).partition("by ")[2])

    threads = [threading.Thread(target=ask, args=(path,)) for path in [folder, good] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(1) == outcomes.count("SIGFPE") == 4


def children():
    """Returns the process ids of this process's children, zombies included."""
    return {
        pid
        for thread in Path("/proc/self/task").iterdir()
        for pid in (thread / "children").read_text().split()
    }


def test_smoke_run_leaves_no_file_process_or_descriptor(good):
    before = sorted((str(path), path.stat().st_mtime_ns) for path in good.rglob("*"))
    open_files, started = len(os.listdir("/proc/self/fd")), children()
    run_smoke(good)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in good.rglob("*")) == before
    assert len(os.listdir("/proc/self/fd")) <= open_files
    assert children() == started


def test_smoke_run_stops_an_endless_model_if_signals_are_blocked(damaged):
    folder = damaged(harmful("ranker.onnx", endless, ENDLESS))
    ignored = signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])
    try:
        with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a smoke run"):
            run_smoke(folder, TIGHT)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGXCPU, ignored)


def test_limits_grow_with_the_bytes_of_the_bundle(tmp_path):
    (tmp_path / "ranker.onnx").write_bytes(b"0" * 1000)
    (tmp_path / "index.karec").write_bytes(b"0" * 200_000)
    assert Limits.from_folder(tmp_path) == Limits(3.0 + 201_000 / 50e6, (512 << 20) + 4000)


def test_smoke_run_is_repeated_if_the_manifest_changes_after_verify(good, damaged, monkeypatch):
    Bundle.open(good)
    other = damaged(lambda folder: None)  # published without facts, so that its manifest is another
    runs = []
    monkeypatch.setattr(smoke, "run_smoke", runs.append)

    def swapped(folder, files):
        check_files(folder, files)
        shutil.copyfile(good / "manifest.json", folder / "manifest.json")

    monkeypatch.setattr("karec.bundle.bundle.check_files", swapped)
    Bundle.open(other)
    assert runs == [other]


def put_interpreter(monkeypatch, path, text):
    """Makes the script ``text`` the interpreter that starts smoke runs."""
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setattr(spawn, "_python_exe", os.fsencode(path))


def test_smoke_run_is_stopped_by_the_clock_if_its_process_sleeps(good, tmp_path, monkeypatch):
    script = "#!/bin/sh\necho ready\necho part ranker.onnx\nexec sleep 1000\n"
    put_interpreter(monkeypatch, tmp_path / "python", script)
    monkeypatch.setattr(smoke, "START_S", 0.5)
    before = children()
    with pytest.raises(
        BundleError, match=r"ranker\.onnx does not end in a smoke run: stopped after .* clock"
    ):
        run_smoke(good, Limits(cpu_seconds=0.01, memory_bytes=1))
    assert children() == before


RECORDER = """#!{python}
import json, os, sys
facts = {{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "KAREC_OF_THE_PARENT")}}
facts["input"] = os.readlink("/proc/self/fd/0")
facts["leads its session"] = os.getsid(0) == os.getpid()
with open({record!r}, "w") as file:
    json.dump(facts, file)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def test_smoke_child_has_no_input_an_own_session_and_one_thread(good, tmp_path, monkeypatch):
    """The interpreter first records how it was started."""
    record = tmp_path / "record.json"
    put_interpreter(
        monkeypatch, tmp_path / "python", RECORDER.format(python=sys.executable, record=str(record))
    )
    monkeypatch.setenv("KAREC_OF_THE_PARENT", "kept")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    run_smoke(good)
    assert json.loads(record.read_text()) == {
        "OMP_NUM_THREADS": "1",
        "KAREC_OF_THE_PARENT": "kept",
        "input": "/dev/null",
        "leads its session": True,
    }


RUNNING = ["ready", "part ranker.onnx"]
BUNDLE = Path("/bundles/v0000000001")


@pytest.mark.parametrize(
    ("reports", "status", "errors", "message"),
    [
        ([*RUNNING, "refused logits are NaN"], 1, b"?", "logits are NaN"),
        (
            [],
            3,
            b"no\n module \xff",
            f"{BUNDLE} cannot be verified: the process for it ended with status 3: no module \ufffd",
        ),
        ([], None, b"", f"{BUNDLE} cannot be verified: the process for it did not start within 240 s"),
        (RUNNING, -signal.SIGSEGV, b"", f"{BUNDLE}/ranker.onnx ends the process in a smoke run by SIGSEGV"),
        (
            RUNNING,
            -signal.SIGABRT,
            b"x" * 600,
            f"{BUNDLE}/ranker.onnx ends the process in a smoke run by SIGABRT: {'x' * 500}",
        ),
        (RUNNING, 0, b"", f"{BUNDLE}/ranker.onnx ends the process in a smoke run with status 0"),
        (["ready"], 1, b"", f"{BUNDLE} ends the process in a smoke run with status 1"),
    ],
)
def test_refusal_names_the_cause_of_the_end_of_the_child(reports, status, errors, message):
    assert smoke._refusal(BUNDLE, Limits(2.0, 1 << 20), status, reports, errors) == message
