"""Writing aside: a path has its old contents or all of the new ones, wherever the writer is interrupted."""

import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from karec.files import file_aside, folder_aside, link_aside, remove_leftovers, write_text_aside


class Stopped(Exception):
    pass


def write_and_stop(path, data=b"new"):
    """Returns the name of the temporary file."""
    name = ""
    with suppress(Stopped), file_aside(path) as file:
        name = file.name
        file.write(data)
        raise Stopped
    return name


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_aside_creates_the_file_at_the_end_of_its_block(tmp_path):
    path = tmp_path / "there"
    with file_aside(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["there"]


@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path])
def test_write_text_aside_accepts_str_bytes_and_path(tmp_path, kind):
    write_text_aside(kind(tmp_path / "wörk"), "text")
    assert (tmp_path / "wörk").read_text() == "text"


def test_write_text_aside_puts_a_bare_name_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text_aside("here", "text")
    assert names(tmp_path) == ["here"]


def test_file_aside_keeps_only_the_old_file_if_its_block_raises(tmp_path):
    path = tmp_path / "there"
    path.write_bytes(b"old")
    write_and_stop(path, b"new" * 100_000)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["there"]


KILLED = """
import os, signal, sys
from karec.files import file_aside
with file_aside(sys.argv[1]) as file:
    file.write(b"new" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_file_aside_keeps_the_old_file_if_the_process_is_killed(tmp_path):
    path = tmp_path / "there"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    (left,) = set(names(tmp_path)) - {"there"}
    assert left.endswith(".tmp")


def test_file_aside_removes_only_leftovers_of_killed_writers(tmp_path):
    path = tmp_path / "there"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (tmp_path / "there.and.not.this.tmp").write_bytes(b"another's")
    with file_aside(path) as living:
        living.write(b"of the living")
        write_text_aside(path, "new")
        assert path.read_text() == "new"
        assert set(names(tmp_path)) == {"there", "there.and.not.this.tmp", os.path.basename(living.name)}
    assert path.read_bytes() == b"of the living"


def test_file_aside_skips_temporary_names_that_exist(tmp_path):
    """Process ids repeat in containers, and leftovers are not removed if the file system has no locks."""
    number = int(write_and_stop(tmp_path / "there").rsplit("-", 1)[1].removesuffix(".tmp"))
    for taken in range(number + 1, number + 4):
        (tmp_path / f"there.{os.getpid()}-{taken}.tmp").mkdir()
    write_text_aside(tmp_path / "there", "new")
    assert (tmp_path / "there").read_text() == "new"
    assert len(names(tmp_path)) == 4


FULL = f"""
import resource, sys
from karec.files import file_aside
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
try:
    with file_aside(sys.argv[1]) as file:
        file.write(bytes(2000))
except OSError as error:
    print(error.strerror, error.filename)
"""


def test_file_aside_keeps_only_the_old_file_if_the_disk_is_full(tmp_path):
    path = tmp_path / "there"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == f"File too large {path}"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["there"]


def test_write_text_aside_replaces_only_regular_files(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "folder", "fifo"):
        with pytest.raises(FileExistsError, match=f"not a regular file.*{name}"):
            write_text_aside(tmp_path / name, "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["fifo", "file", "folder", "link"]


def test_write_text_aside_names_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text_aside(tmp_path / "nowhere" / "file", "text")


def test_concurrent_writers_of_one_path_leave_one_whole_file(tmp_path):
    path = tmp_path / "there"
    texts = [str(at) * 50_000 for at in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: write_text_aside(path, text), texts))
    assert path.read_text() in texts
    assert names(tmp_path) == ["there"]


def test_remove_leftovers_keeps_a_file_that_is_being_renamed(tmp_path, monkeypatch):
    """Another writer of the path removes leftovers just before the rename."""
    rename = os.rename

    def after_another_has_looked(aside, final):
        remove_leftovers(tmp_path, "there")
        rename(aside, final)

    monkeypatch.setattr(os, "rename", after_another_has_looked)
    write_text_aside(tmp_path / "there", "text")
    assert (tmp_path / "there").read_text() == "text"


def test_folder_aside_creates_the_folder_with_its_contents(tmp_path):
    final = tmp_path / "v1"
    with folder_aside(final) as aside:
        os.mkdir(os.path.join(aside, "inner"))
        with open(os.path.join(aside, "inner", "file"), "w") as file:
            file.write("text")
        assert not final.exists()
    assert (final / "inner" / "file").read_text() == "text"
    assert names(tmp_path) == ["v1"]


def test_folder_aside_leaves_nothing_if_its_block_raises(tmp_path):
    with pytest.raises(Stopped), folder_aside(tmp_path / "v1"):
        raise Stopped
    assert names(tmp_path) == []


def test_folder_aside_refuses_an_existing_folder(tmp_path):
    (tmp_path / "v1").mkdir()
    with pytest.raises(FileExistsError, match="v1"), folder_aside(tmp_path / "v1"):
        pass
    with pytest.raises(FileExistsError, match="v2"), folder_aside(tmp_path / "v2"):
        (tmp_path / "v2").mkdir()  # by another, meanwhile
    assert names(tmp_path) == ["v1", "v2"]


def test_link_aside_replaces_the_target_of_a_link(tmp_path):
    for target in ("v1", "v2"):
        link_aside(tmp_path / "current", target)
        assert os.readlink(tmp_path / "current") == target
    assert names(tmp_path) == ["current"]


def test_link_aside_refuses_to_replace_a_file(tmp_path):
    (tmp_path / "current").write_text("a file")
    with pytest.raises(FileExistsError, match="not a symbolic link"):
        link_aside(tmp_path / "current", "v1")
    assert (tmp_path / "current").read_text() == "a file"
