"""Index files with bytes changed at random, with checksums that match or not, are opened or rejected."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from colliding_ids import ids_of_one_bucket
from hypothesis import given
from hypothesis import strategies as st

from karec import _native
from karec.errors import IndexFormatError

HEADER_BYTES = ENTRY_BYTES = 128  # of the header, and of each entry of the section table
CHECKSUM = 64  # of header and table, in the header
WORDS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 63, 64, 255, 256, 2**31, 2**32 - 1])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each dtype. Together they have every kind of section."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("files")
    for dtype in ("float16", "float32", "int8"):
        columns = [("creator_id", np.arange(70)), ("größe", rng.random(70).astype(np.float32))]
        codes = [("tag", np.arange(70, dtype=np.uint32))] if dtype != "float32" else []
        index = _native.ItemIndex.build(
            rng.permutation(999)[:70],
            rng.standard_normal((70, 5)),
            dtype,
            columns,
            codes,
            3,
            dtype == "int8",
            33 if dtype != "float16" else 0,
        )
        if dtype != "float32":
            new_codes = [(name, column[:1]) for name, column in codes]
            index.upsert(
                [1000], np.ones((1, 5)), [(name, column[:1]) for name, column in columns], new_codes, 4, 44
            )
            index.calibrate(4, 0.5, 0.25)
            index.adjust([1000], [2], None)
            index.block([1000])
        if dtype != "int8":
            index.build_lists(9 if dtype == "float32" else 1, 0)
        index.save(bytes(folder / dtype))
    return folder


def sealed(content: bytearray) -> bytearray:
    """Returns ``content`` with correct checksums of the sections that its table names."""
    n_sections = min(struct.unpack_from("<Q", content, 56)[0], (len(content) - HEADER_BYTES) // ENTRY_BYTES)
    table = slice(HEADER_BYTES, HEADER_BYTES + n_sections * ENTRY_BYTES)
    for at in range(table.start, table.stop, ENTRY_BYTES):
        offset, size = struct.unpack_from("<QQ", content, at + 8)
        if offset + size <= len(content):
            struct.pack_into("<Q", content, at + 24, _native.xxh64(bytes(content[offset : offset + size])))
    content[CHECKSUM : CHECKSUM + 8] = bytes(8)
    struct.pack_into("<Q", content, CHECKSUM, _native.xxh64(bytes(content[: table.stop])))
    return content


def read_all(path: Path, verify: bool) -> None:
    """Reads every array of the file and searches it, if it can be opened."""
    try:
        index = _native.ItemIndex.open(bytes(path), verify, False)
    except IndexFormatError as error:
        if str(path) not in str(error):
            raise
        return
    _, ids, columns, _ = index.table()
    for column in columns.values():
        column.copy()
    queries = [(version, np.ones((1, index.dim), np.float32)) for version in index.model_versions]
    queries = queries or [(None, np.ones((1, index.dim), np.float32))]
    table = np.array([1], np.uint32), np.ones(1, np.float32), 0.5
    names = index.code_columns
    tables = [[[table] * len(names)] for _ in queries] if names else []
    *_, [(n_unknown, n_blocked, _, n_found)] = index.search(queries, tables, ids, None, 20)
    assert n_found == min(20, len(ids) - n_unknown - n_blocked)
    if index.n_lists:
        index.search_all(queries, tables, 20, None, None, 1)


@given(data=st.data())
def test_index_file_with_changed_bytes_is_opened_or_rejected(
    files: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray((files / data.draw(st.sampled_from(["float16", "float32", "int8"]))).read_bytes())
    head = HEADER_BYTES + ENTRY_BYTES * struct.unpack_from("<Q", content, 56)[0]
    for _ in range(data.draw(st.integers(0, 3))):
        change = data.draw(st.sampled_from(["field", "field", "byte", "cut", "longer", "entries"]))
        if change == "field":
            at = 4 * data.draw(st.integers(0, min(head, len(content)) // 4 - 1))
            content[at : at + 4] = struct.pack("<I", data.draw(WORDS))
        elif change == "byte":
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        elif change == "cut":
            del content[max(64, len(content) - data.draw(st.integers(1, 5000))) :]
            struct.pack_into("<Q", content, 16, len(content))
        elif change == "longer":
            content += bytes(data.draw(st.sampled_from([1, 64])))
            struct.pack_into("<Q", content, 16, len(content))
        elif len(content) >= head:
            first, other = sorted(data.draw(st.integers(0, (head - 128) // 128 - 1)) for _ in range(2))
            one, two = (slice(128 + 128 * at, 256 + 128 * at) for at in (first, other))
            content[one], content[two] = content[two], content[one]
    if len(content) >= HEADER_BYTES and data.draw(st.booleans()):
        content = sealed(content)
    path = tmp_path_factory.mktemp("changed") / "index.karec"
    path.write_bytes(content)
    verify = data.draw(st.booleans())
    read_all(path, verify)


def test_index_file_with_too_many_ids_of_one_bucket_is_refused(tmp_path: Path) -> None:
    """A lookup of n such ids takes n² / 10 steps."""
    path = bytes(tmp_path / "index.karec")
    few, many = ids_of_one_bucket(1000), ids_of_one_bucket(2000)
    _native.ItemIndex.build(few, np.ones((1000, 2)), "float16", [], [], 1, False, 0).save(path)
    assert len(_native.ItemIndex.open(path, True, False)) == 1000
    _native.ItemIndex.build(many, np.ones((2000, 2)), "float16", [], [], 1, False, 0).save(path)
    with pytest.raises(IndexFormatError, match="too many ids share one bucket"):
        _native.ItemIndex.open(path, True, False)
