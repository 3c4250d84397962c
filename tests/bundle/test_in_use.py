"""Locks on a bundle's folder within one process. A lock belongs to an open folder, not to a process."""

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
    """Returns how many descriptors of this process refer to ``folder``."""
    entries = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [os.path.realpath(entry) for entry in entries].count(str(folder))


def test_folder_is_locked_until_the_last_in_use_is_released(tmp_path):
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


def test_bundle_folder_is_locked_while_open(tmp_path):
    folder = publish_folder(tmp_path, 7, lambda folder: (folder / "rows.bin").write_bytes(b"rows"))
    bundle = Bundle.open(tmp_path)
    again = pickle.loads(pickle.dumps(bundle))
    del bundle
    gc.collect()
    assert again.path == folder and not is_free(folder)
    del again
    gc.collect()
    assert is_free(folder)


def test_in_use_of_a_missing_folder_closes_no_other_file(tmp_path):
    InUse(tmp_path / "nowhere")
    gc.collect()
    for descriptor in range(3):
        os.fstat(descriptor)


def test_fifo_in_place_of_a_bundle_folder_is_refused(tmp_path):
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


def test_exclusive_lock_is_not_inherited_by_a_forked_child(tmp_path):
    reading, writing = os.pipe()
    with lock_exclusively(tmp_path, wait=True):
        child = forked(os.read, reading, 1)
    assert is_free(tmp_path)
    os.write(writing, b".")
    assert ended(child) == 0
