"""The index file: it comes back as it was saved, and a truncated, altered or foreign one never does."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from karec.errors import IndexFormatError
from karec.index import ItemIndex

HEADER = 128 + 128 * 5  # header, and a table of ids, rows, id map and two columns


@pytest.fixture
def index() -> ItemIndex:
    rng = np.random.default_rng(0)
    columns = {"creator_id": rng.integers(0, 9, 13), "größe": rng.random(13).astype(np.float32)}
    return ItemIndex.build(rng.permutation(1000)[:13], rng.standard_normal((13, 5)), columns=columns, model_version=-2)


@pytest.fixture
def saved(index: ItemIndex, tmp_path: Path) -> Path:
    path = tmp_path / "index.karec"
    index.save(path)
    return path


DTYPES = [np.dtype(code) for code in "?bhiqBHIQefd"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_an_index_comes_back_as_it_was_saved(tmp_path: Path, dtype: str, n: int) -> None:
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
    np.testing.assert_array_equal(opened.search_all(query, 50).scores, index.search_all(query, 50).scores)
    assert opened.lookup(index.ids).tolist() == list(range(n))


def test_saving_what_was_opened_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    ItemIndex.open(saved).save(tmp_path / "again.karec")
    assert saved.read_bytes() == (tmp_path / "again.karec").read_bytes()


def test_a_file_can_be_replaced_under_its_readers(saved: Path, index: ItemIndex) -> None:
    reader = ItemIndex.open(saved)
    ItemIndex.build([1], np.ones((1, 5))).save(saved)
    assert reader.ids.tolist() == index.ids.tolist() and len(ItemIndex.open(saved)) == 1
    assert os.listdir(saved.parent) == ["index.karec"]


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(IndexFormatError) as error:
        ItemIndex.open(path)
    return str(error.value)


def test_a_file_truncated_at_any_byte_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    for length in [*range(HEADER + 70), *range(HEADER + 70, len(content), 13), len(content) - 1]:
        refused(tmp_path / "cut", content[:length])


def test_a_file_with_any_byte_changed_is_refused(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    for at in range(len(content)):
        for flip in (0x01, 0xFF) if at < HEADER else (0x40,):
            content[at] ^= flip
            refused(tmp_path / "changed", bytes(content))
            content[at] ^= flip


def test_a_file_with_anything_behind_it_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "long", saved.read_bytes() + b"\0")
    refused(tmp_path / "twice", saved.read_bytes() * 2)


def test_foreign_files_are_refused_by_what_is_foreign(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    assert "begin with 'karecidx'" in refused(tmp_path / "f", b"\x93NUMPY" + content[6:])
    assert "0 bytes" in refused(tmp_path / "f", b"")
    assert "byte order" in refused(tmp_path / "f", content[:12] + content[12:16][::-1] + content[16:])
    assert "version 2, this karec reads version 1" in refused(
        tmp_path / "f", content[:8] + struct.pack("<I", 2) + content[12:]
    )
    assert str(tmp_path / "f") in refused(tmp_path / "f", content[:-1])
