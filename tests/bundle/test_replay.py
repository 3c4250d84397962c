"""A bundle whose models do not serve is refused before it is taken into service, with the file that was
running.

Most tests ask the replay itself: only this child process opens a model before it is in service.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
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

from karec.bundle import Bundle, publish_folder, replay_process
from karec.bundle.manifest import check_files
from karec.bundle.replay_process import Caps, replay_in_child
from karec.errors import BundleError
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.learn.export.trees import export_trees

OUTPUTS = {"user_tower.onnx": ("user_vector", DIM), "ranker.onnx": ("logits", len(TASKS))}
OUTPUTS["item_tower.onnx"] = ("item_vector", DIM)
GIVEN = {"user_tower.onnx": "user_numbers", "item_tower.onnx": "item_numbers", "ranker.onnx": "item_numbers"}
LITTLE = Caps(seconds=0.1, bytes=256 << 20)
MODELS = sorted(OUTPUTS)


@pytest.fixture
def damaged(good, tmp_path):
    """Publishes the good bundle with what ``damage`` does to its folder, so that every hash is right. The
    folder."""

    def of(damage):
        def write(folder):
            shutil.copytree(good, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.*"))
            damage(folder)

        return publish_folder(tmp_path / "bundles", 1, write)

    return of


def model(name, nodes, constants, **options):
    """A damage: the model ``name`` is one of these nodes."""
    output, n = OUTPUTS[name]
    options = {"n": n, "given": GIVEN[name], "kind": name.removesuffix(".onnx"), **options}
    return lambda folder: write_damaged(folder / name, nodes, output, constants=constants, **options)


def of_kind(name, make, constants):
    """Returns ``model`` of the nodes ``make(output)``, with its input in place of ``user_numbers``."""
    nodes = make(OUTPUTS[name][0])
    for node in nodes:
        node.input[:] = [GIVEN[name] if each == "user_numbers" else each for each in node.input]
    return model(name, nodes, {**constant(1, OUTPUTS[name][1]), **constants})


def test_replay_accepts_a_valid_bundle(good):
    replay_in_child(good)
    assert Bundle.open(good).model_version == 1


def test_replay_reports_inputs_and_outputs_of_each_model(good):
    command = [sys.executable, "-m", "karec.bundle.replay", good]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    reports = {each["model"]: each for each in map(json.loads, said.splitlines()) if "model" in each}
    assert reports.keys() == OUTPUTS.keys()
    assert reports["user_tower.onnx"]["inputs"]["user_numbers"] == "float32 (N, 12)"
    for name, (output, n) in OUTPUTS.items():
        assert reports[name]["outputs"][output] == f"float32 (N, {n})"


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

    with pytest.raises(BundleError, match=r"ranker\.trees\.npz was made from another file than ranker\.onnx"):
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
def test_replay_stops_and_names_a_model_that_never_ends(damaged, name):
    folder = damaged(of_kind(name, endless, ENDLESS))
    with pytest.raises(
        BundleError,
        match=rf"{folder / name} does not end in a replayed request: stopped "
        rf"after 0\.1 s",
    ):
        replay_in_child(folder, LITTLE)


def test_open_refuses_a_bundle_with_a_model_that_never_ends(damaged):
    folder = damaged(of_kind("ranker.onnx", endless, ENDLESS))
    with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a replayed request"):
        Bundle.open(folder)
    with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a replayed request"):
        Bundle.shared(folder)


def test_open_without_verify_replays_no_model(damaged):
    folder = damaged(of_kind("ranker.onnx", endless, ENDLESS))
    assert Bundle.open(folder, verify=False).ranker.tasks == TASKS


@pytest.mark.parametrize("name", MODELS)
def test_replay_names_a_model_that_allocates_gigabytes(damaged, name):
    folder = damaged(of_kind(name, greedy, GREEDY))
    with pytest.raises(
        BundleError,
        match=rf"{folder / name} (fails|ends the process) in a replayed "
        rf"request.*alloc",
    ):
        replay_in_child(folder, LITTLE)


@pytest.mark.parametrize("name", MODELS)
def test_replay_names_a_model_that_crashes(damaged, name):
    folder = damaged(of_kind(name, crashing, CRASHING))
    with pytest.raises(
        BundleError,
        match=rf"{folder / name} ends the process in a replayed request by "
        rf"SIGFPE",
    ):
        replay_in_child(folder)


@pytest.mark.parametrize("name", MODELS)
def test_replay_refuses_weights_that_are_nan(damaged, name):
    def damage(folder):
        loaded = onnx.load(folder / name)
        for weight in loaded.graph.initializer:
            if weight.name.endswith(".weight"):
                values = np.full_like(numpy_helper.to_array(weight), np.nan)
                weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(loaded, folder / name)

    with pytest.raises(
        BundleError,
        match=rf"{name}: {OUTPUTS[name][0]} is not finite for a replayed "
        rf"request",
    ):
        replay_in_child(damaged(damage))


@pytest.mark.parametrize("name", MODELS)
def test_replay_refuses_a_model_of_another_width(damaged, name):
    output, n = OUTPUTS[name]
    nodes = a_row_of(output, name=GIVEN[name])
    folder = damaged(model(name, nodes, constant(1, n + 1), n=n + 1))
    wrong = f"gives vectors of {n + 1} numbers, index.karec has {n}"
    if name == "ranker.onnx":
        wrong = rf"output 'logits' is float32 \(N, {n + 1}\), expected one column for each of {n} tasks"
    with pytest.raises(BundleError, match=rf"{name}:? {wrong}"):
        replay_in_child(folder)


@pytest.mark.parametrize("name", MODELS)
def test_model_that_declares_another_input_width_is_refused(damaged, name):
    output, n = OUTPUTS[name]
    folder = damaged(model(name, a_row_of(output, name=GIVEN[name]), constant(1, n), width=99))
    expected = rf"{name}: input '{GIVEN[name]}' is float32 \(N, 99\), the encoder gives float32 \(N, \d+\)"
    with pytest.raises(BundleError, match=expected):
        replay_in_child(folder)


def test_model_that_declares_another_input_dtype_is_refused(damaged):
    nodes = [onnx.helper.make_node("Cast", ["item_ids"], ["codes"], to=TensorProto.FLOAT)]
    nodes += a_row_of("logits", name="codes")
    folder = damaged(model("ranker.onnx", nodes, constant(1, len(TASKS)), given="item_ids"))
    with pytest.raises(BundleError, match=r"input 'item_ids' is float32 \(N, N\), the encoder gives int64"):
        replay_in_child(folder)


def test_replay_refuses_an_output_with_another_number_of_rows(damaged):
    nodes = a_row_of("wide", name="item_numbers")
    nodes.append(onnx.helper.make_node("Gather", ["wide", "first"], ["logits"], axis=0))
    folder = damaged(model("ranker.onnx", nodes, {**constant(1, 3), "first": np.array([0])}))
    with pytest.raises(BundleError, match=r"ranker\.onnx: logits has the shape \(1, 3\), expected \(17, 3\)"):
        replay_in_child(folder)


def test_replay_refuses_an_output_of_another_dtype(damaged):
    nodes = a_row_of("narrow")
    nodes.append(onnx.helper.make_node("Cast", ["narrow"], ["user_vector"], to=TensorProto.DOUBLE))
    folder = damaged(model("user_tower.onnx", nodes, constant(1, DIM), told=TensorProto.DOUBLE))
    with pytest.raises(BundleError, match=r"'user_vector' is double \(N, 8\), expected float32"):
        replay_in_child(folder)


@pytest.mark.parametrize("name", MODELS)
def test_replay_refuses_a_model_with_an_unknown_input(damaged, name):
    output, n = OUTPUTS[name]
    folder = damaged(model(name, a_row_of(output, name="mood"), constant(1, n), given="mood"))
    with pytest.raises(BundleError, match=rf"{name} reads the input 'mood'; the encoder gives"):
        replay_in_child(folder)


def test_replay_refuses_a_model_without_the_served_output(damaged):
    def damage(folder):
        nodes = a_row_of("vector")
        write_damaged(folder / "user_tower.onnx", nodes, "vector", constants=constant(1, DIM), n=DIM)

    with pytest.raises(
        BundleError,
        match=r"user_tower\.onnx has no output 'user_vector'; it has "
        r"\['vector'\]",
    ):
        replay_in_child(damaged(damage))


@pytest.mark.parametrize("name", MODELS)
def test_replay_refuses_a_file_that_is_not_a_model(damaged, name):
    with pytest.raises(BundleError, match=rf"{name} does not load as an ONNX model"):
        replay_in_child(damaged(lambda folder: (folder / name).write_bytes(b"\x08\x07 no model")))


def test_replay_runs_user_towers_of_other_versions(damaged):
    def damage(folder):
        nodes = crashing("user_vector")
        constants = {**constant(1, DIM), **CRASHING}
        path = folder / "user_tower.v0000000002.onnx"
        write_damaged(path, nodes, "user_vector", constants=constants, version=2, n=DIM)

    with pytest.raises(
        BundleError,
        match=r"user_tower\.v0000000002\.onnx ends the process in a replayed "
        r"request",
    ):
        replay_in_child(damaged(damage))


def test_replay_runs_towers_on_an_example_without_an_encoder(tmp_path):
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

    replay_in_child(publish_folder(tmp_path / "good", 7, towers()))
    wide = publish_folder(
        tmp_path / "wide", 7, towers(lambda folder: write_user_tower(folder / "user_tower.onnx", 7, 5))
    )
    with pytest.raises(BundleError, match=r"user_tower\.onnx gives vectors of 5 numbers, index\.karec has 4"):
        replay_in_child(wide)


def test_open_replays_equal_content_once_per_process(good, tmp_path, monkeypatch):
    Bundle.open(good)
    copied = shutil.copytree(good, tmp_path / "copy")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", None)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", None)  # so that no child can be started
    assert Bundle.open(good).model_version == Bundle.open(copied).model_version == 1
    with pytest.raises(BundleError, match="names none"):
        replay_in_child(good)


def test_replay_without_an_interpreter_names_the_remedy(good, monkeypatch):
    import multiprocessing

    before = multiprocessing.spawn.get_executable()
    told = (
        r"embeds Python, names none: call multiprocessing\.set_executable\(PATH\) first, or open .* "
        r"verify=False"
    )
    try:
        multiprocessing.set_executable("")
        with pytest.raises(BundleError, match=told):
            replay_in_child(good)
        multiprocessing.set_executable("/bin/false")
        with pytest.raises(BundleError, match="cannot be replayed: the process for it ended with status 1"):
            replay_in_child(good)
        multiprocessing.set_executable("/nowhere/python")
        with pytest.raises(BundleError, match=r"cannot be replayed: '/nowhere/python' does not start"):
            replay_in_child(good)
    finally:
        multiprocessing.set_executable(before)
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # the executable is the application itself
    with pytest.raises(BundleError, match=told):
        replay_in_child(good)


def test_replay_imports_no_module_of_the_current_folder(good, tmp_path, monkeypatch):
    (tmp_path / "karec.py").write_text("raise SystemExit('the karec of the current folder')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('the numpy of the current folder')")
    monkeypatch.chdir(tmp_path)
    replay_in_child(good)


def test_open_from_concurrent_threads_gives_separate_results(damaged, good):
    """Eight threads open a valid and a damaged bundle at the same time."""
    folder = damaged(of_kind("ranker.onnx", crashing, CRASHING))
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


def test_replay_leaves_no_file_process_or_descriptor(good):
    before = sorted((str(path), path.stat().st_mtime_ns) for path in good.rglob("*"))
    open_files, started = len(os.listdir("/proc/self/fd")), children()
    replay_in_child(good)
    assert sorted((str(path), path.stat().st_mtime_ns) for path in good.rglob("*")) == before
    assert len(os.listdir("/proc/self/fd")) <= open_files
    assert children() == started


def test_replay_stops_an_endless_model_if_signals_are_blocked(damaged):
    import signal

    folder = damaged(of_kind("ranker.onnx", endless, ENDLESS))
    ignored = signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])
    try:
        with pytest.raises(BundleError, match=r"ranker\.onnx does not end in a replayed request"):
            replay_in_child(folder, LITTLE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGXCPU, ignored)


def test_caps_grow_with_the_bytes_of_the_bundle(tmp_path):
    (tmp_path / "ranker.onnx").write_bytes(b"0" * 1000)
    (tmp_path / "index.karec").write_bytes(b"0" * 200_000)
    assert Caps.of(tmp_path) == Caps(1.5 + 201_000 / 100e6, (512 << 20) + 4000)


def test_replay_encodes_only_an_excerpt_of_the_catalog(good):
    """A replay encodes a few users and the items of their lists, not every row."""
    from karec.bundle.replay import WORKS, _excerpt, _few_users

    snapshot = Bundle.open(good).snapshot
    rows = _few_users(snapshot)
    excerpt = _excerpt(snapshot, rows)
    assert excerpt.users.ids.tolist() == snapshot.users.ids[rows].tolist() and len(rows) <= 3
    assert len(excerpt.works) <= WORKS + sum(
        len(snapshot.relations["history"].row_values(int(row))) for row in rows
    )
    for at, row in enumerate(rows):
        for name, relation in snapshot.relations.items():
            assert excerpt.relations[name].row_values(at).tolist() == relation.row_values(int(row)).tolist()
        for name, counter in snapshot.user_scene_counters.items():
            by_scene = counter.reshape(-1, snapshot.n_scenes)
            np.testing.assert_array_equal(
                excerpt.user_scene_counters[name].reshape(-1, snapshot.n_scenes)[at], by_scene[row]
            )


def test_replay_is_repeated_if_the_manifest_changes_after_verify(good, damaged, monkeypatch):
    Bundle.open(good)
    other = damaged(lambda folder: None)  # published without facts, so that its manifest is another
    replayed = []
    monkeypatch.setattr(replay_process, "replay_in_child", replayed.append)

    def swapped(folder, files):
        check_files(folder, files)
        shutil.copyfile(good / "manifest.json", folder / "manifest.json")

    monkeypatch.setattr("karec.bundle.bundle.check_files", swapped)
    Bundle.open(other)
    assert replayed == [other]
