"""Concurrent and killed publishers, full disks, removal of old versions, and readers at the same time."""

import os
import shutil
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from disk_faults import NOTHING, FaultyWriter
from killed_publishers import FILES, ended, fill, forked, kill_publishers

from karec.bundle import Bundle, make_current, next_version, publish_folder
from karec.errors import BundleError

N_KILLS = 240


def write(folder):
    (folder / "rows.bin").write_bytes(b"rows")
    (folder / "inner").mkdir()
    (folder / "inner" / "labels.json").write_text("{}")


def names(root):
    return sorted(path.name for path in root.iterdir())


def v(*versions):
    return [f"v{version:010d}" for version in versions]


# Killed publishers


def read_until(stop, root, seen):
    """Opens the current bundle until ``stop``. Appends (version, True if it was whole) to ``seen``."""
    while not stop.is_set():
        try:
            bundle = Bundle.open(root)
            texts = {(bundle.path / name).read_bytes() for name in FILES}
            whole = texts == {str(bundle.model_version).encode() * 3_000}
            seen.append((bundle.model_version, whole))
        except Exception as error:
            seen.append((-1, repr(error)))


def test_readers_open_whole_bundles_while_publishers_are_killed(tmp_path):
    """A publisher is killed after it reported a random number of steps."""
    publish_folder(tmp_path, 1, lambda folder: fill(folder, 1))
    stop, seen = Event(), []
    readers = [Thread(target=read_until, args=(stop, tmp_path, seen)) for _ in range(2)]
    steps = np.random.default_rng(0).integers(1, 6, N_KILLS).tolist()
    # a process without the readers' threads, from which the publishers are forked
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for reader in readers:
            reader.start()
        try:
            kills = pool.submit(kill_publishers, tmp_path, steps).result()
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    assert kills == N_KILLS
    assert {whole for _, whole in seen} == {True}
    assert len({version for version, _ in seen}) > 2
    last = next_version(tmp_path)
    publish_folder(tmp_path, last, write, keep=1)
    assert names(tmp_path) == ["current", *v(last)]


def test_next_publisher_removes_only_files_of_a_killed_one(tmp_path):
    publish_folder(tmp_path, 1, write)

    def die(folder):
        write(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(forked(publish_folder, tmp_path, 2, die)) == -signal.SIGKILL
    os.symlink("v0000000002", tmp_path / "current.1-0.tmp")
    (tmp_path / "v0000000002.notes.tmp").mkdir()
    (tmp_path / "run.json.1-0.tmp").write_text("of another writer")
    assert len(names(tmp_path)) == 6
    publish_folder(tmp_path, 2, write)
    assert names(tmp_path) == ["current", "run.json.1-0.tmp", *v(1, 2), "v0000000002.notes.tmp"]
    assert Bundle.open(tmp_path).model_version == 2


# Two publishers at once


def test_second_publisher_waits_for_the_first(tmp_path):
    order = []
    inside, go_on = Event(), Event()

    def slow(folder):
        inside.set()
        go_on.wait()
        order.append("first")
        write(folder)

    def quick(folder):
        order.append("second")
        write(folder)

    first = Thread(target=publish_folder, args=(tmp_path, 8, slow))
    first.start()
    inside.wait()
    second = Thread(target=publish_folder, args=(tmp_path, 7, quick))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert order == ["first", "second"]
    assert Bundle.open(tmp_path / "v0000000007").model_version == 7
    assert Bundle.open(tmp_path).model_version == 8  # current does not go back


def test_concurrent_publishers_of_one_version_fail_except_one(tmp_path):
    publish_folder(tmp_path, 1, write)
    statuses = [ended(child) for child in [forked(publish_folder, tmp_path, 2, write) for _ in range(6)]]
    assert sorted(statuses) == [0, 1, 1, 1, 1, 1]
    assert names(tmp_path) == ["current", *v(1, 2)]
    assert Bundle.open(tmp_path).model_version == 2
    with pytest.raises(BundleError, match="published already"):
        publish_folder(tmp_path, 2, write)


def test_concurrent_publishers_end_with_the_highest_version_current(tmp_path):
    children = [forked(publish_folder, tmp_path, version, write) for version in (3, 1, 6, 4, 2, 5)]
    assert [ended(child) for child in children] == [0] * 6
    assert names(tmp_path) == ["current", *v(1, 2, 3, 4, 5, 6)]
    assert [Bundle.open(tmp_path / name).model_version for name in v(1, 2, 3, 4, 5, 6)] == [1, 2, 3, 4, 5, 6]
    assert Bundle.open(tmp_path).model_version == 6


def test_make_current_returns_to_an_older_version(tmp_path):
    for version in (1, 2, 3):
        publish_folder(tmp_path, version, write)
    make_current(tmp_path, 1)
    assert Bundle.open(tmp_path).model_version == 1
    publish_folder(tmp_path, 4, write)
    assert Bundle.open(tmp_path).model_version == 4
    with pytest.raises(BundleError, match="v0000000009 is not a bundle"):
        make_current(tmp_path, 9)
    assert Bundle.open(tmp_path).model_version == 4


def test_publish_moves_a_current_link_without_target(tmp_path):
    (tmp_path / "current").symlink_to("v0000000009")
    publish_folder(tmp_path, 1, write)
    assert Bundle.open(tmp_path).model_version == 1


# Old versions


def test_publish_keeps_only_the_highest_versions(tmp_path):
    for version in range(1, 6):
        publish_folder(tmp_path, version, write, keep=3)
    assert names(tmp_path) == ["current", *v(3, 4, 5)]
    publish_folder(tmp_path, 6, write)
    assert names(tmp_path) == ["current", *v(3, 4, 5, 6)]


def test_publish_keeps_the_current_version_at_any_age(tmp_path):
    for version in (1, 2, 3):
        publish_folder(tmp_path, version, write)
    publish_folder(tmp_path, 5, write)
    make_current(tmp_path, 2)
    publish_folder(tmp_path, 1_000, write, keep=2)
    assert names(tmp_path) == ["current", *v(5, 1_000)]
    make_current(tmp_path, 5)
    # late: what is current stays current, and what has just been published stays
    publish_folder(tmp_path, 4, write, keep=1)
    assert names(tmp_path) == ["current", *v(4, 5, 1_000)]
    assert Bundle.open(tmp_path).model_version == 5


def test_publish_keeps_a_version_that_a_process_has_open(tmp_path):
    publish_folder(tmp_path, 1, write)
    reading, writing = os.pipe()
    ready_reading, ready_writing = os.pipe()

    def hold():
        bundle = Bundle.open(tmp_path)
        os.write(ready_writing, b".")
        os.read(reading, 1)
        assert (bundle.path / "rows.bin").read_bytes() == b"rows"

    child = forked(hold)
    assert os.read(ready_reading, 1) == b"."
    publish_folder(tmp_path, 2, write, keep=1)
    meanwhile = names(tmp_path)
    os.write(writing, b".")
    assert ended(child) == 0
    assert meanwhile == ["current", *v(1, 2)]
    publish_folder(tmp_path, 3, write, keep=1)
    assert names(tmp_path) == ["current", *v(3)]


def test_publish_warns_of_a_version_that_cannot_be_removed(tmp_path, monkeypatch):
    publish_folder(tmp_path, 1, write)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("karec.bundle.publish.remove_folder", refuse)
    with pytest.warns(
        UserWarning,
        match=r"v0000000001 is older than the 1 versions to keep but could not be removed: .*denied",
    ):
        publish_folder(tmp_path, 2, write, keep=1)
    assert Bundle.open(tmp_path).model_version == 2


@pytest.mark.parametrize("open_bundle", [Bundle.open, Bundle.shared])
def test_open_uses_the_next_version_if_its_folder_is_removed(tmp_path, monkeypatch, open_bundle):
    """A publisher removes the folder between the read of ``current`` and its opening, twice in a row."""
    publish_folder(tmp_path, 1, write)
    resolve, versions = Path.resolve, iter((2, 3))

    def late(path, *rest):
        output = resolve(path, *rest)
        with monkeypatch.context() as inner:
            inner.setattr(Path, "resolve", resolve)
            for version in versions:
                publish_folder(tmp_path, version, write, keep=1)
                break
        return output

    monkeypatch.setattr(Path, "resolve", late)
    assert open_bundle(tmp_path).model_version == 3


# A full disk


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None,
    reason="faults are preloaded: Linux and a C compiler",
)
def test_publish_on_a_full_disk_names_the_folder_and_can_be_repeated(tmp_path):
    """Tests the message and the retry. tests/test_interrupted_writers.py tests a full disk at each call."""
    root = tmp_path / "bundles"
    root.mkdir()
    writer = FaultyWriter("bundle", tmp_path)
    try:
        assert writer.write(root, "old").status == 0
        whole = writer.write(shutil.copytree(root, tmp_path / "whole", symlinks=True), "new")
        for number, call in enumerate(whole.calls):
            if call.kind != "write":
                continue
            done = writer.write(root, "new", number, 28)
            assert done.error.startswith(f"BundleError: {root}/v0000000009 was not published: ")
            assert "No space left on device" in done.error
            assert names(root) == ["current", "v0000000008"]
        assert writer.write(root, "new", 0, NOTHING).status == 0
        assert Bundle.open(root).model_version == 9
    finally:
        writer.close()
