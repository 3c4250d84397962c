"""Files of format version 1 stay readable with the same contents.

``python tests/index/test_golden_files.py`` wrote them. They are never written again; new ones may be added.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from karec.index import CodeTable, ItemIndex

GOLDEN = Path(__file__).parents[1] / "native" / "golden"
DTYPES = ("float16", "float32", "int8")
IDS = np.array([5, -7, 2**61, 11, 12, 13, 0])


def vectors(n: int, shift: int) -> np.ndarray:
    """Returns (n, 3) vectors, exact in float16 and in int8: the largest value of every row is 127."""
    rows = (np.arange(3 * n).reshape(n, 3) * 37 + shift) % 120 - 60.0
    rows[:, 1] = 127
    return rows.astype(np.float32)


def make(dtype: str) -> ItemIndex:
    """Returns an index with two model versions, an adjusted, a blocked and a removed item, and two
    columns."""
    columns = {"creator_id": np.arange(7), "quality": np.linspace(0, 1, 7, dtype=np.float32)}
    index = ItemIndex.build(IDS, vectors(7, 0), dtype, columns, model_version=3, rescore=dtype == "int8")  # type: ignore[arg-type]
    index.remove([13])
    index.upsert([11, 99], vectors(2, 5), {"creator_id": [70, 71], "quality": [0.5, 0.25]}, model_version=4)
    index.adjust([-7, 99], scale=[2, 1], offset=[0, 10])
    index.block([2**61])
    return index


@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_file_opens_with_its_contents(dtype: str, tmp_path: Path) -> None:
    path = GOLDEN / f"v1-{dtype}.karec"
    index = ItemIndex.open(path)
    assert (len(index), index.dim, index.dtype, index.model_versions) == (7, 3, np.dtype(dtype), (3, 4))
    expected = {int(i): row for i, row in zip(IDS, vectors(7, 0), strict=True) if i != 13}
    expected |= {11: vectors(2, 5)[0], 99: vectors(2, 5)[1]}
    rows = index.lookup(list(expected))
    np.testing.assert_array_equal(index.embeddings(rows), list(expected.values()))
    assert index.columns["creator_id"][index.lookup([5, 12, 11, 99])].tolist() == [0, 4, 70, 71]
    assert index.columns["quality"].dtype == np.float32
    queries = {3: [1, 0, 0], 4: [0, 1, 0]}
    result = index.search(queries, ids=list(expected), k=10)
    assert result.n_blocked == 1 and len(result.ids) == 6
    scores = dict(zip(result.ids.tolist(), result.scores.tolist(), strict=True))
    assert scores[99] == pytest.approx(137.0) and scores[11] == pytest.approx(127.0)
    assert scores[-7] == pytest.approx(2 * expected[-7][0]) and scores[5] == pytest.approx(expected[5][0])
    index.save(tmp_path / "again.karec")
    assert (tmp_path / "again.karec").read_bytes() == path.read_bytes()


def test_golden_file_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    for dtype in DTYPES:
        make(dtype).save(tmp_path / "now.karec")
        assert (tmp_path / "now.karec").read_bytes() == (GOLDEN / f"v1-{dtype}.karec").read_bytes()


def make_listed() -> ItemIndex:
    """Returns the float32 index with lists: two of version 4. Items of version 3 are in no list."""
    index = make("float32")
    index.build_lists(2, seed=1)
    return index


def test_golden_file_with_lists_keeps_its_bytes(tmp_path: Path) -> None:
    path = GOLDEN / "v1-lists.karec"
    index = ItemIndex.open(path)
    assert (len(index), index.n_lists, index.model_versions) == (7, 2, (3, 4))
    queries = {3: [0, 1, 0], 4: vectors(2, 5)[0]}
    exact = index.search(queries, 10)
    some = index.search(queries, 10, n_probe=1)
    assert set(exact.ids.tolist()) - set(some.ids.tolist()) == {99} and len(exact.ids) == 6
    for entry in (index, make_listed()):
        entry.save(tmp_path / "again.karec")
        assert (tmp_path / "again.karec").read_bytes() == path.read_bytes()


def make_spaced() -> ItemIndex:
    """Returns the float16 index with known item towers. Version 3 is calibrated to the scale of version 4."""
    columns = {"creator_id": np.arange(7)}
    index = ItemIndex.build(IDS, vectors(7, 0), "float16", columns, model_version=3, space_id=2**64 - 1)
    index.upsert([11, 99], vectors(2, 5), {"creator_id": [70, 71]}, model_version=4, space_id=0xABC)
    index.calibrate(3, scale=0.5, offset=8)
    return index


def test_golden_file_with_spaces_keeps_its_bytes(tmp_path: Path) -> None:
    path = GOLDEN / "v1-spaces.karec"
    index = ItemIndex.open(path)
    assert [astuple(entry) for entry in index.versions] == [
        (3, 6, 2**64 - 1, 0.5, 8.0),
        (4, 2, 0xABC, 1.0, 0.0),
    ]
    queries = {3: [0, 1, 0], 4: [0, 1, 0]}
    assert index.scores(queries, ids=[5, 99]).tolist() == [71.5, 127.0]
    for entry in (index, make_spaced()):
        entry.save(tmp_path / "again.karec")
        assert (tmp_path / "again.karec").read_bytes() == path.read_bytes()


CODES = {
    "creator_id": np.array([3, 70_000, 2**32 - 1, 0, 5, 5, 5]),
    "tag": np.arange(7),
    "era": np.ones(7, int),
}


def make_coded() -> ItemIndex:
    """Returns the float16 index with three code columns, of which 11 and 99 have the codes of 5 and −7."""
    index = ItemIndex.build(IDS, vectors(7, 0), "float16", codes=CODES)
    index.upsert([11, 99], vectors(2, 5), codes={name: codes[:2] for name, codes in CODES.items()})
    return index


def test_golden_file_with_codes_keeps_its_bytes(tmp_path: Path) -> None:
    path = GOLDEN / "v1-codes.karec"
    index = ItemIndex.open(path)
    assert index.code_columns == ("creator_id", "tag", "era")
    creators = CodeTable(np.array([3, 70_000, 2**32 - 1]), np.array([1.0, 2.0, 4.0]))
    tables = {"creator_id": creators, "tag": CodeTable(np.arange(2), np.array([8.0, 16.0])), "era": creators}
    ids = [5, -7, 2**61, 11, 99, 12]
    assert index.scores([0, 0, 0], ids=ids, tables=tables).tolist() == [9.0, 18.0, 4.0, 9.0, 18.0, 0.0]
    for entry in (index, make_coded()):
        entry.save(tmp_path / "again.karec")
        assert (tmp_path / "again.karec").read_bytes() == path.read_bytes()


if __name__ == "__main__":
    for entry in DTYPES:
        make(entry).save(GOLDEN / f"v1-{entry}.karec")
    make_listed().save(GOLDEN / "v1-lists.karec")
    make_spaced().save(GOLDEN / "v1-spaces.karec")
    make_coded().save(GOLDEN / "v1-codes.karec")
