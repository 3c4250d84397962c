"""Files, folders and links that are written whole or not at all, and safe reading of files of others.

Writing. A new file is ``NAME.PID-NUMBER.tmp`` in the same folder until it is complete and synced. Then one
rename puts it in place:

- A reader of the path gets the old content or all of the new one, even after a power cut.
- When a function returns, bytes and name are on the disk (fsync of the file, then of its folder).
- If a function raises, the old content stays and no temporary file is left. One exception: an OSError of the
  folder's fsync comes after the rename. The new file is there and may be lost by a power cut.
- An OSError names the path.
- A killed process leaves its ``.tmp`` file, which no reader of karec opens. The next writer of the same path
  deletes it: a living writer holds a lock (flock) on its file. If the file system has no locks, it stays, as
  do files of native code (index files).
- Any number of processes and threads may write one path. The last one wins, as a whole.
- Only a regular file is replaced. A device, a FIFO, a folder or a symbolic link raises FileExistsError.

Reading. A file must hold what it declares before memory is taken. ``.npy`` files are mapped. ``.npz``
archives are read if they are as ``np.savez`` writes them: members are not compressed, so reading takes no
more memory than the file has bytes. Arrays hold numbers or booleans in this machine's byte order, and no
strings, structs or pickled objects. JSON has a limit of bytes and finite numbers. Refusals are OSErrors and
ValueErrors with the reason and the archive's member; the caller adds the file's name.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from itertools import count
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, BinaryIO, TypeVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Array = NDArray[Any]
T = TypeVar("T")

ASIDE = r"(\.[0-9]+-[0-9]+\.tmp)+"  # suffix of a file, folder or link that is not in place yet
MAX_JSON_BYTES = 16 << 20  # parsed, JSON takes up to about 30 times its bytes
MAX_MEMBERS = 4096
MAX_DIRECTORY_BYTES = 1 << 20  # of the list of members at an archive's end
MAX_HEADER_BYTES = 10_000  # of a .npy array
PIECE_BYTES = 1 << 20
END_RECORD_BYTES = 22  # of an archive without a comment
END_LOCATOR_64_BYTES = 20

_numbers = count()


@contextmanager
def file_aside(path: AnyPath) -> Iterator[BinaryIO]:
    """Yields an empty file that replaces ``path`` when the block ends.

    If the block raises, ``path`` stays as it was. The folder must exist.
    """
    final = os.fsdecode(path)
    _check_replaceable(final)
    remove_leftovers(os.path.dirname(final), re.escape(os.path.basename(final)))
    aside, file = _make_aside(final, _new_locked_file)
    try:
        with add_path_to_errors(final), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # Rename before unlocking: another writer deletes an unlocked temporary file.
            os.rename(aside, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(os.path.dirname(final))


def write_text_aside(path: AnyPath, text: str, encoding: str = "utf-8") -> None:
    """Replaces the content of ``path`` by ``text``."""
    with file_aside(path) as file:
        file.write(text.encode(encoding))


@contextmanager
def folder_aside(path: AnyPath) -> Iterator[str]:
    """Yields the path of an empty folder, which is synced and renamed to ``path`` when the block ends.

    If the block raises, nothing is left. Raises FileExistsError if ``path`` exists.
    """
    final = os.fsdecode(path)
    _check_absent(final)
    aside, _ = _make_aside(final, os.mkdir)
    try:
        yield aside
        for folder, _, names in os.walk(aside):
            for name in names:
                _sync(os.path.join(folder, name))
            sync_folder(folder)
        _check_absent(final)  # rename would replace an empty folder
        os.rename(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(os.path.dirname(final))


def link_aside(path: AnyPath, target: str) -> None:
    """Makes ``path`` a symbolic link to ``target``. Raises FileExistsError if ``path`` is anything but a
    link."""
    final = os.fsdecode(path)
    if os.path.lexists(final) and not os.path.islink(final):
        raise FileExistsError(errno.EEXIST, "not a symbolic link, so it is not replaced; move it away", final)
    aside, _ = _make_aside(final, lambda name: os.symlink(target, name))
    try:
        os.replace(aside, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(os.path.dirname(final))


def remove_folder(path: AnyPath) -> None:
    """Removes the folder by one rename, which survives a power cut, and then deletes its files."""
    final = os.fsdecode(path)

    def rename(name: str) -> None:
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, "the path exists already", name)
        os.rename(final, name)

    aside, _ = _make_aside(final, rename)
    try:
        sync_folder(os.path.dirname(final))
    finally:
        shutil.rmtree(aside)


def remove_leftovers(folder: AnyPath, names: str) -> None:
    """Deletes temporary files of killed writers in ``folder``. ``names``: a regular expression of final
    names."""
    leftover = re.compile(names + ASIDE)
    with suppress(OSError), os.scandir(os.fsdecode(folder) or ".") as entries:
        for entry in entries:
            if leftover.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as file:
                    # raises BlockingIOError if the writer lives
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


@contextmanager
def add_path_to_errors(path: AnyPath) -> Iterator[None]:
    """Adds ``path`` to an OSError of the block that names none, as those of write and fsync."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fsdecode(path)
        raise


def check_writable_folder(folder: Path) -> None:
    """Raises OSError if ``folder`` is a file, or could not be created or written. Writes nothing."""
    parent = existing_parent(folder)
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent}: this is a file, expected a folder. Name another folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{parent}: the folder cannot be written. Name another folder.")


def check_writable_file(path: Path) -> None:
    """Raises OSError if ``path`` is a folder, or its folder is missing or cannot be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder, expected a file. Name a file in it.")
    check_writable_folder(path.parent)
    if not path.parent.exists():
        raise FileNotFoundError(f"{path.parent}: the folder is missing. Create it, or name another file.")


def existing_parent(path: Path) -> Path:
    """Returns ``path``, or the nearest of its parents that exists."""
    path = path.absolute()
    return next(parent for parent in (path, *path.parents) if parent.exists() or parent.is_symlink())


def sync_folder(folder: AnyPath) -> None:
    """Puts the names in ``folder`` on the disk. "" is the current folder."""
    try:
        _sync(os.fsdecode(folder) or ".")
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder; the rename itself is done
            raise


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with add_path_to_errors(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_aside(final: str, make: Callable[[str], T]) -> tuple[str, T]:
    """Returns a free temporary name for ``final`` and the result of ``make`` with this name."""
    while True:
        aside = f"{final}.{os.getpid()}-{next(_numbers)}.tmp"
        try:
            return aside, make(aside)
        except FileExistsError:  # of a killed process: containers use the same process ids again
            continue
        except OSError as error:
            error.filename = final  # a user does not know the temporary name
            raise


def _new_locked_file(name: str) -> BinaryIO:
    """Raises FileExistsError also if ``remove_leftovers`` deleted the file before it was locked."""
    file = open(name, "xb")  # noqa: SIM115 (the caller closes it)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_taken = os.fstat(file.fileno()).st_nlink == 0
    except OSError as error:
        is_taken = (
            error.errno == errno.EWOULDBLOCK
        )  # else there are no locks, and no process deletes leftovers
    if is_taken:
        file.close()
        raise FileExistsError(errno.EEXIST, "the path exists already", name)
    return file


def _check_replaceable(final: str) -> None:
    try:
        mode = os.lstat(final).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "not a regular file, so it is not replaced; move it away", final)


def _check_absent(final: str) -> None:
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "the path exists already", final)


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading. Raises ValueError for anything else: opening a FIFO would wait for a
    writer."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is not a regular file")
    return file


def map_npy(path: Path) -> Array:
    """Returns the array of a ``.npy`` file, mapped read-only."""
    with open_regular(path) as file:
        shape, is_fortran_order, dtype = _read_header(file, os.fstat(file.fileno()).st_size)
        if not prod(shape):
            return np.empty(shape, dtype)
        order = "F" if is_fortran_order else "C"
        mapped: Array = np.memmap(file, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload]
        return np.asarray(mapped)  # a plain view: np.memmap takes 2 µs more for each element or slice


def read_bytes(path: Path, max_bytes: int) -> bytes:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"it has {size} bytes, expected at most {max_bytes}")
        return file.read(max_bytes)


def read_json(path: Path) -> Any:
    return parse_json(read_bytes(path, MAX_JSON_BYTES))


def parse_json(text: bytes) -> Any:
    """Parses UTF-8 JSON. Raises ValueError if it is not JSON, too long, or holds NaN or infinity."""
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"it has {len(text)} bytes of JSON, expected at most {MAX_JSON_BYTES}")
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def to_struct(value: object, cls: type[T]) -> T:
    """Returns parsed JSON as ``cls``. Raises ValueError that names the first wrong value."""
    try:
        return msgspec.convert(value, cls)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it holds {word}, which is not JSON")


def read_npz(path: Path) -> Mapping[str, Array]:
    """Returns {name: array} of all members of an ``.npz`` archive."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, size)
        try:
            with ZipFile(file) as archive:
                members = archive.infolist()
                _check_members(members, size)
                return {
                    member.filename.removesuffix(".npy"): _read_member(archive, member) for member in members
                }
        except (
            BadZipFile,
            EOFError,
            RuntimeError,
            NotImplementedError,
            struct.error,
            UnicodeDecodeError,
        ) as error:
            raise ValueError(f"it is a damaged archive: {error}") from error


def _check_directory(file: IO[bytes], size: int) -> None:
    """Checks the end record before the list of members is read: 32-bit sizes, no comment, a short list."""
    if size < END_RECORD_BYTES:
        raise ValueError(f"it has {size} bytes, too few for an archive")
    file.seek(max(size - END_RECORD_BYTES - END_LOCATOR_64_BYTES, 0))
    tail = file.read()
    signature, *_, members, directory, _, comment = struct.unpack("<4s4H2LH", tail[-END_RECORD_BYTES:])
    if signature != b"PK\5\6" or comment:
        raise ValueError("it is truncated, or not an archive that np.savez wrote")
    if tail.startswith(b"PK\6\7"):
        raise ValueError("it is an archive with 64-bit sizes, expected less than 4 GiB")
    if members > MAX_MEMBERS or directory > MAX_DIRECTORY_BYTES:
        raise ValueError(f"it has {members} members, expected at most {MAX_MEMBERS}")


def _check_members(members: list[ZipInfo], size: int) -> None:
    names = [member.filename for member in members]
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise ValueError(f"member {min(repeated)!r} appears twice")
    total = 0
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ValueError(f"member {member.filename!r} is not a .npy file")
        if member.compress_type != ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(
                f"member {member.filename!r} is compressed: {member.compress_size} bytes declare "
                f"{member.file_size}"
            )
        total += member.file_size
        if total > size:
            raise ValueError(f"members up to {member.filename!r} declare {total} bytes, the file has {size}")


def _read_member(archive: ZipFile, member: ZipInfo) -> Array:
    try:
        with archive.open(member) as file:
            shape, is_fortran_order, dtype = _read_header(file, member.file_size)
            array = np.empty(prod(shape), dtype)
            target = array.view(np.uint8)
            for begin in range(0, array.nbytes, PIECE_BYTES):
                piece = file.read(min(PIECE_BYTES, array.nbytes - begin))
                target[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
            file.read()  # the checksum is compared at the end of a member
    except (BadZipFile, EOFError, RuntimeError, NotImplementedError, struct.error, ValueError) as error:
        raise ValueError(f"member {member.filename!r}: {error}") from error
    return array.reshape(shape, order="F" if is_fortran_order else "C")


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Returns (shape, is_fortran_order, dtype) of the array in ``size`` bytes; leaves ``file`` at its data.

    Raises ValueError unless it holds numbers and has exactly the bytes that it declares.
    """
    start = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"its .npy format is {version[0]}.{version[1]}, expected 1.0")
        shape, is_fortran_order, dtype = np.lib.format.read_array_header_1_0(file, MAX_HEADER_BYTES)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        TokenError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise ValueError(f"it is not a .npy file: {str(error) or type(error).__name__}") from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or not dtype.isnative:
        raise ValueError(f"its dtype is {dtype}, expected numbers of this machine of at most 64 bits")
    if any(isinstance(length, bool) or length < 0 for length in shape) or len(shape) > 8:
        raise ValueError(f"its shape is {shape}")
    held, declared = size - (file.tell() - start), prod(shape) * dtype.itemsize
    if declared != held:
        raise ValueError(f"its header declares {declared} bytes (shape {shape}, {dtype}), it holds {held}")
    return shape, is_fortran_order, dtype
