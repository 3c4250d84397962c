"""Files, folders and links that appear whole or not at all: the one place where karec writes aside and
renames.

What is written lies beside its path, as ``NAME.PID-NUMBER.tmp``, until it is complete and synced; then one
rename puts it in place. So:

- Who opens the path finds what was there before, or all of what is new; never a part, not even after a power
  cut.
- When a function here returns, the bytes and the name are on the disk (fsync of the file, then of its
  folder).
- When it raises, what was there before still is, and nothing is left beside it. One exception: an OSError of
  the folder's own fsync comes after the rename, so the new file is there and may be lost by a power cut.
- An OSError tells the path.
- A process that is killed leaves the ``.tmp``, which no reader of karec looks at. The next writer of the same
  path removes a file so left: a living writer holds a lock (flock) on its file, a dead one does not. On a
  file system without locks it stays, and so does what native code left (index files).
- Any number of processes and threads may write one path at once: one of them is last, and whole.
- Only a regular file is replaced: a device, a FIFO, a folder or a symbolic link is refused with
  FileExistsError.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import BinaryIO, TypeVar

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
T = TypeVar("T")

ASIDE = r"(\.[0-9]+-[0-9]+\.tmp)+"  # what follows the name of a file, folder or link that is not in place yet
_numbers = count()


@contextmanager
def file_aside(path: AnyPath) -> Iterator[BinaryIO]:
    """``with file_aside(path) as file``: an empty file to write; it is put at ``path`` when the block ends.

    A block that raises leaves ``path`` as it was. The folder must exist. OSError, as from open and write.
    """
    final = os.fsdecode(path)
    _only_over_a_regular_file(final)
    remove_leftovers(os.path.dirname(final), re.escape(os.path.basename(final)))
    aside, file = _beside(final, _new_locked_file)
    try:
        with naming(final), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # while the file is locked: another writer of the path takes it for a leftover else
            os.rename(aside, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(os.path.dirname(final))


def write_text_aside(path: AnyPath, text: str, encoding: str = "utf-8") -> None:
    """The file at ``path`` holds ``text``, or what it held before if this raises."""
    with file_aside(path) as file:
        file.write(text.encode(encoding))


@contextmanager
def folder_aside(path: AnyPath) -> Iterator[str]:
    """``with folder_aside(path) as aside``: an empty folder to fill; it is renamed to ``path`` when the block
    ends.

    Every file in it is synced before. A block that raises leaves nothing behind. ``path`` must not be there
    yet: FileExistsError.
    """
    final = os.fsdecode(path)
    _only_where_nothing_is(final)
    aside, _ = _beside(final, os.mkdir)
    try:
        yield aside
        for folder, _, names in os.walk(aside):
            for name in names:
                _sync(os.path.join(folder, name))
            sync_folder(folder)
        _only_where_nothing_is(final)  # rename would replace an empty folder
        os.rename(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(os.path.dirname(final))


def link_aside(path: AnyPath, target: str) -> None:
    """The symbolic link at ``path`` points at ``target``, or where it did before if this raises.

    It replaces a link and nothing else: FileExistsError.
    """
    final = os.fsdecode(path)
    if os.path.lexists(final) and not os.path.islink(final):
        raise FileExistsError(errno.EEXIST, "not a symbolic link, so it is not replaced; move it away", final)
    aside, _ = _beside(final, lambda name: os.symlink(target, name))
    try:
        os.replace(aside, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(os.path.dirname(final))


def remove_folder(path: AnyPath) -> None:
    """The folder at ``path`` is not there any more, at once and after a power cut too; then its files are
    removed."""
    final = os.fsdecode(path)

    def rename(name: str) -> None:
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, "there is something already", name)
        os.rename(final, name)

    aside, _ = _beside(final, rename)
    try:
        sync_folder(os.path.dirname(final))
    finally:
        shutil.rmtree(aside)


def remove_leftovers(folder: AnyPath, names: str) -> None:
    """Remove the files in ``folder`` that writers of a name (regular expression) left there when they were
    killed."""
    leftover = re.compile(names + ASIDE)
    with suppress(OSError), os.scandir(os.fsdecode(folder) or ".") as entries:
        for entry in entries:
            if leftover.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of a living writer: BlockingIOError
                    os.unlink(entry.path)


@contextmanager
def naming(path: AnyPath) -> Iterator[None]:
    """An OSError of the block that tells no path tells this one: that of a write or an fsync does not by
    itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fsdecode(path)
        raise


def sync_folder(folder: AnyPath) -> None:
    """The names in ``folder`` ("" is the current one) are on the disk."""
    try:
        _sync(os.fsdecode(folder) or ".")
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder; the rename itself stands
            raise


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(final: str, make: Callable[[str], T]) -> tuple[str, T]:
    """(a name beside ``final`` that was free, what ``make`` made there)."""
    while True:
        aside = f"{final}.{os.getpid()}-{next(_numbers)}.tmp"
        with suppress(FileExistsError):  # left by a process that was killed: in containers process ids repeat
            return aside, make(aside)


def _new_locked_file(name: str) -> BinaryIO:
    """Raises FileExistsError too where ``remove_leftovers`` took the file between its making and its
    locking."""
    file = open(name, "xb")  # noqa: SIM115 (the caller closes it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = os.fstat(file.fileno()).st_nlink == 0
    except OSError as error:
        taken = error.errno == errno.EWOULDBLOCK  # else: no locks here, and so nobody removes leftovers
    if taken:
        file.close()
        raise FileExistsError(errno.EEXIST, "there was something already", name)
    return file


def _only_over_a_regular_file(final: str) -> None:
    try:
        mode = os.lstat(final).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "not a regular file, so it is not replaced; move it away", final)


def _only_where_nothing_is(final: str) -> None:
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "there is something already", final)
