"""Each writer of files is interrupted at each system call. A reader finds whole old or new contents."""

import errno
import os
import shutil
import signal
import sys

import pytest
from disk_faults import KILL, FaultyWriter
from file_writers import WRITERS
from power_cut import Disk

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None,
    reason="faults are preloaded: Linux and a C compiler",
)


SHORT = ("text", "bundle", "rank-log")  # a file, a folder, parts that follow each other
NAMES = [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in WRITERS]


@pytest.fixture(scope="module", params=NAMES)
def writer(request, tmp_path_factory):
    build = tmp_path_factory.getbasetemp() / "disk-faults"
    build.mkdir(exist_ok=True)
    writer = FaultyWriter(request.param, build)
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def read(writer):
    """Function that returns the contents of a folder: "old" or "new"."""
    return WRITERS[writer.name]().read


@pytest.fixture
def old(writer, read, tmp_path):
    """Folder with the old contents."""
    folder = tmp_path / "old"
    folder.mkdir()
    done = writer.write(folder, "old")
    assert (done.status, done.error) == (0, "")
    assert read(folder) == "old"
    return folder


def copied(old, path):
    shutil.copytree(old, path, symlinks=True)
    return path


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_writer_killed_at_any_call_leaves_old_or_new_contents(writer, read, old, tmp_path):
    whole = writer.write(copied(old, tmp_path / "whole"), "new")
    assert (whole.status, read(tmp_path / "whole")) == (0, "new")
    found = []
    for call in range(len(whole.calls)):
        folder = copied(old, tmp_path / f"killed-{call}")
        assert writer.write(folder, "new", call, KILL).status == -signal.SIGKILL
        found.append(read(folder))
        again = writer.write(folder, "new")  # the next writer gets through
        assert again.status == 0 or "published already" in again.error
        assert read(folder) == "new" or again.error
    assert found == sorted(found, key=("old", "new").index)
    assert found[0] == "old"


def test_power_cut_after_any_call_leaves_old_or_new_contents(writer, read, old, tmp_path):
    folder = copied(old, tmp_path / "cut")
    disk = Disk(folder)
    whole = writer.write(folder, "new")
    assert whole.status == 0
    for number, call in enumerate(whole.calls):
        disk.follow(call)
        for left in disk.after_a_cut(tmp_path / f"cut-{number}"):
            assert read(left) in ("old", "new")
    for left in disk.after_a_cut(tmp_path / "at the end"):
        assert read(left) == "new"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_writer_raises_the_error_of_any_call_and_leaves_no_files(writer, read, old, tmp_path, error):
    """If fsync fails after the rename, the new contents may stay."""
    if writer.name == "retiring":
        pytest.skip("its errors are those of publishing, and then warnings")
    whole = writer.write(copied(old, tmp_path / "whole"), "new")
    placed = [number for number, call in enumerate(whole.calls) if call.kind == "rename"]
    for number, call in enumerate(whole.calls):
        if call.kind in ("remove", "refused"):
            continue
        folder = copied(old, tmp_path / f"failed-{number}")
        done = writer.write(folder, "new", number, error)
        assert done.status == 1, f"call {number}, {call.kind} {call.path}, failed without an error"
        assert os.strerror(error) in done.error
        assert str(folder) in done.error
        found = read(folder)
        assert found == "old" or number > placed[0]
        assert not [name for name in names(folder) if name.endswith(".tmp")]
        assert found == "new" or names(folder) == names(old)
