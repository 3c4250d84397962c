"""Who holds a bundle's folder, within one process: locks are of open folders, not of processes."""

import gc
import os
import pickle
from pathlib import Path

import pytest
from killed_publishers import ended, forked

from karec.bundle import Bundle, publish_folder
from karec.bundle.in_use import InUse, lock_exclusively
from karec.errors import BundleError


def is_free(folder):
    with lock_exclusively(folder, wait=False) as is_locked:
        return is_locked


def n_open(folder):
    """How many descriptors of this process are of ``folder``."""
    entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [os.path.realpath(entry) for entry in entries].count(str(folder))


def test_a_folder_is_held_by_any_number_until_the_last_lets_go(tmp_path):
    first, second = InUse(tmp_path), InUse(tmp_path)
    assert n_open(tmp_path) == 2
    assert not is_free(tmp_path)
    del first
    gc.collect()
    assert not is_free(tmp_path)
    del second
    gc.collect()
    assert is_free(tmp_path)
    assert n_open(tmp_path) == 0


def test_a_bundle_is_held_as_long_as_it_is_open(tmp_path):
    folder = publish_folder(tmp_path, 7, lambda folder: (folder / "rows.bin").write_bytes(b"rows"))
    bundle = Bundle.open(tmp_path)
    again = pickle.loads(pickle.dumps(bundle))
    del bundle
    gc.collect()
    assert again.path == folder and not is_free(folder)
    del again
    gc.collect()
    assert is_free(folder)


def test_a_folder_that_is_not_there_is_not_held_and_no_other_file_is_closed(tmp_path):
    InUse(tmp_path / "nowhere")
    gc.collect()
    for descriptor in range(3):
        os.fstat(descriptor)


def test_a_fifo_in_place_of_a_folder_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "bundle")
    with pytest.raises(BundleError, match="bundle is not a bundle"):
        Bundle.open(tmp_path / "bundle")
    with pytest.raises(NotADirectoryError), lock_exclusively(tmp_path / "bundle", wait=True):
        pass


def test_second_lock_neither_waits_nor_holds_a_locked_folder(tmp_path):
    with lock_exclusively(tmp_path, wait=True) as is_locked:
        assert is_locked
        late = InUse(tmp_path)
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
    del late


def test_a_child_that_was_forked_meanwhile_does_not_hold_the_folder(tmp_path):
    reading, writing = os.pipe()
    with lock_exclusively(tmp_path, wait=True):
        child = forked(os.read, reading, 1)
    assert is_free(tmp_path)
    os.write(writing, b".")
    assert ended(child) == 0
