"""The index file is read as it was saved. A truncated, altered or foreign file is refused."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from karec import _native
from karec.errors import IndexFormatError
from karec.index import ItemIndex

HEADER = 128 + 128 * 5  # header, and a table of ids, rows, id map and two columns


@pytest.fixture
def index() -> ItemIndex:
    rng = np.random.default_rng(0)
    columns = {"creator_id": rng.integers(0, 9, 13), "größe": rng.random(13).astype(np.float32)}
    return ItemIndex.build(
        rng.permutation(1000)[:13], rng.standard_normal((13, 5)), columns=columns, model_version=-2
    )


@pytest.fixture
def saved(index: ItemIndex, tmp_path: Path) -> Path:
    path = tmp_path / "index.karec"
    index.save(path)
    return path


DTYPES = [np.dtype(code) for code in "?bhiqBHIQefd"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_index_opens_as_it_was_saved(tmp_path: Path, dtype: str, n: int) -> None:
    rng = np.random.default_rng(n)
    columns = {str(d): rng.integers(0, 2, n).astype(d) for d in DTYPES}
    index = ItemIndex.build(
        rng.permutation(n) * 3, rng.standard_normal((n, 21)), dtype, columns=columns, model_version=2**62
    )  # type: ignore[arg-type]
    index.save(tmp_path / "index.karec")
    opened = ItemIndex.open(str(tmp_path / "index.karec"))
    assert (len(opened), opened.dim, opened.dtype) == (n, 21, np.dtype(dtype))
    assert (opened.model_version, opened.generation) == (2**62, index.generation)
    np.testing.assert_array_equal(opened.ids, index.ids)
    np.testing.assert_array_equal(opened.embeddings(np.arange(n)), index.embeddings(np.arange(n)))
    assert list(opened.columns) == list(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(opened.columns[name], column)
        assert opened.columns[name].dtype == column.dtype
    query = rng.standard_normal(21)
    np.testing.assert_array_equal(opened.search(query, 50).scores, index.search(query, 50).scores)
    assert opened.lookup(index.ids).tolist() == list(range(n))


def test_opened_index_is_saved_with_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    ItemIndex.open(saved).save(tmp_path / "again.karec")
    assert saved.read_bytes() == (tmp_path / "again.karec").read_bytes()


def test_index_file_can_be_replaced_while_it_is_open(saved: Path, index: ItemIndex) -> None:
    reader = ItemIndex.open(saved)
    ItemIndex.build([1], np.ones((1, 5))).save(saved)
    assert reader.ids.tolist() == index.ids.tolist() and len(ItemIndex.open(saved)) == 1
    assert os.listdir(saved.parent) == ["index.karec"]


def test_index_opened_as_a_copy_ignores_changes_of_its_file(
    saved: Path, index: ItemIndex, tmp_path: Path
) -> None:
    """If the file is mapped, truncation ends the process by SIGBUS and an overwrite changes results."""
    for content in (b"", bytes(saved.stat().st_size)):
        path = tmp_path / f"written-to-{len(content)}"
        path.write_bytes(saved.read_bytes())
        opened = ItemIndex.open(path, copy=True)
        path.write_bytes(content)  # into the file that is open
        np.testing.assert_array_equal(opened.embeddings(np.arange(13)), index.embeddings(np.arange(13)))
        np.testing.assert_array_equal(opened.columns["creator_id"], index.columns["creator_id"])
        assert opened.search(np.ones(5), ids=index.ids, k=3).ids.tolist() == (
            index.search(np.ones(5), ids=index.ids, k=3).ids.tolist()
        )
        opened.upsert(
            index.ids[:3], np.ones((3, 5)), {name: column[:3] for name, column in index.columns.items()}
        )
        opened.save(tmp_path / "again")
        assert sorted(ItemIndex.open(tmp_path / "again", copy=True).ids) == sorted(index.ids)


def test_index_opened_as_a_copy_is_verified(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(IndexFormatError, match="altered"):
        ItemIndex.open(saved, copy=True)
    assert len(ItemIndex.open(saved, verify=False, copy=True)) == 13


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Interrupts a call that waits, so that the test ends."""

    def stop(*_: object) -> None:
        raise TimeoutError("the call waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("copy", [False, True])
def test_open_refuses_a_path_that_is_not_a_regular_file(tmp_path: Path, copy: bool) -> None:
    """Opening a FIFO without a writer would wait forever."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(OSError, match="not a regular file") as refusal:
            ItemIndex.open(path, copy=copy)
        assert str(path) in str(refusal.value)
    with pytest.raises(IsADirectoryError):
        ItemIndex.open(tmp_path, copy=copy)


@pytest.mark.usefixtures("no_waiting")
def test_xxh64_refuses_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        _native.xxh64_of_file(os.fsencode(tmp_path / "fifo"))


def test_save_replaces_only_a_regular_file(index: ItemIndex, saved: Path, tmp_path: Path) -> None:
    """A rename would put the file in the place of a device, a FIFO or a link."""
    (tmp_path / "link").symlink_to(saved)
    (tmp_path / "broken link").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    for name in ("link", "broken link", "fifo", "folder"):
        mode = os.lstat(tmp_path / name).st_mode
        with pytest.raises(FileExistsError, match="not a regular file, so it is not replaced"):
            index.save(tmp_path / name)
        assert os.lstat(tmp_path / name).st_mode == mode
    assert sorted(os.listdir(tmp_path)) == before
    index.save(saved)
    assert len(ItemIndex.open(tmp_path / "link")) == 13


def test_killed_save_leaves_the_old_file(saved: Path, tmp_path: Path) -> None:
    """A child saves to the file in a loop and is killed at increasing times."""
    code = (
        "import sys, numpy as np; from karec.index import ItemIndex\n"
        "index = ItemIndex.build(np.arange(20_000), np.ones((20_000, 5)))\n"
        "print('ready', flush=True)\n"
        "while True: index.save(sys.argv[1])"
    )
    before = len(ItemIndex.open(saved))
    for lag in range(1, 6):
        child = subprocess.Popen([sys.executable, "-c", code, str(saved)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        # some openings, to let the writer get somewhere; each one must find a whole file
        for _ in range(lag * 20):
            assert len(ItemIndex.open(saved)) in (before, 20_000)
        child.kill()
        child.wait()
        assert len(ItemIndex.open(saved)) in (before, 20_000)


def test_unverified_index_is_read_within_its_bounds(saved: Path, tmp_path: Path) -> None:
    """Damage in a section is not detected. Damage in header, table or sizes is."""
    content = bytearray(saved.read_bytes())
    n_sections = 5
    sections = [struct.unpack_from("<QQ", content, 128 + 128 * s + 8) for s in range(n_sections)]
    for offset, size in sections:
        content[offset : offset + size] = bytes(byte ^ 0xFF for byte in content[offset : offset + size])
    (tmp_path / "damaged").write_bytes(content)
    index = ItemIndex.open(tmp_path / "damaged", verify=False)
    index.search(np.ones(5), 100)
    index.search(np.ones(5), ids=np.arange(1000), k=10)
    index.block(np.arange(1000))
    with pytest.raises(IndexFormatError, match="id map"):
        index.remove([1])
    with pytest.raises(IndexFormatError, match="id map"):
        index.save(tmp_path / "laundered")
    content = bytearray(saved.read_bytes())
    for at in range(HEADER):
        content[at] ^= 1
        (tmp_path / "header").write_bytes(content)
        with pytest.raises(IndexFormatError):
            ItemIndex.open(tmp_path / "header", verify=False)
        content[at] ^= 1


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(IndexFormatError) as error:
        ItemIndex.open(path)
    return str(error.value)


def test_truncated_index_file_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for length in range(len(content)):
        refused(tmp_path / "cut", content[:length])


def test_index_file_with_a_changed_byte_is_refused(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    for at in [*range(HEADER + 70), *range(HEADER + 70, len(content), 13), len(content) - 1]:
        for flip in (0x01, 0xFF) if at < HEADER else (0x40,):
            content[at] ^= flip
            refused(tmp_path / "changed", bytes(content))
            content[at] ^= flip


def test_index_file_with_trailing_bytes_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "long", saved.read_bytes() + b"\0")
    refused(tmp_path / "twice", saved.read_bytes() * 2)


def test_foreign_file_is_refused_with_its_difference(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    assert "begin with 'karecidx'" in refused(tmp_path / "f", b"\x93NUMPY" + content[6:])
    assert "0 bytes" in refused(tmp_path / "f", b"")
    assert "byte order" in refused(tmp_path / "f", content[:12] + content[12:16][::-1] + content[16:])
    assert "version 2, this karec reads version 1" in refused(
        tmp_path / "f", content[:8] + struct.pack("<I", 2) + content[12:]
    )
    assert str(tmp_path / "f") in refused(tmp_path / "f", content[:-1])
