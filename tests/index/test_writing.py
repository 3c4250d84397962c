"""Writes add, change, block and remove items. A saved file contains all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from four_works import IDS

from karec.index import ItemIndex


def test_search_follows_adjust_block_and_remove(index: ItemIndex) -> None:
    assert index.adjust([7, 99, 40], scale=[2, 5, 1], offset=[-1, 5, 0.5]) == 2
    scores, ids = index.search([1, 0, 0], ids=IDS, k=4)
    assert dict(zip(ids.tolist(), scores.tolist(), strict=True)) == {7: 17.0, 2**62: 6.0, -3: 3.0, 40: 0.5}
    index.adjust([7], offset=0)
    assert index.scores([1, 0, 0], ids=[7]).tolist() == [18.0]
    assert index.block([7, 5, 9]) == 1
    result = index.search([1, 0, 0], ids=[7, 5, 40], k=4)
    assert result.ids.tolist() == [40] and (result.n_unknown, result.n_blocked) == (1, 1)
    assert index.scores([1, 0, 0], ids=[7])[0] == -np.inf and 7 not in index.search([1, 0, 0], 4).ids
    assert index.unblock([7]) == 1 and index.search([1, 0, 0], ids=[7], k=1).scores[0] == 18.0
    assert index.generation == 5


def test_upsert_keeps_blocks_and_uses_removed_rows_again(index: ItemIndex) -> None:
    columns = {"creator_id": [1, 2], "quality": [0.5, 0.25]}
    index.block([7])
    index.adjust([-3], offset=100)
    index.upsert([7, 8, -3], [[1, 0, 0], [0, 2, 0], [5, 0, 0]], {k: [*v, v[0]] for k, v in columns.items()})
    assert len(index) == 5 and index.generation == 4
    # as adjusted and blocked as before
    assert index.search([1, 1, 0], ids=[8, -3, 7], k=3).ids.tolist() == [-3, 8]
    assert index.scores([1, 1, 0], ids=[-3, 8]).tolist() == [105.0, 2.0]
    rows = index.lookup([8, 40])
    assert index.columns["creator_id"][rows].tolist() == [2, 9] and index.ids[rows].tolist() == [8, 40]
    assert index.present.sum() == 5 and index.n_rows == 7
    assert index.remove([40, 40, 12345]) == 2 and len(index) == 4
    assert (
        index.lookup([40]).tolist() == [-1]
        and index.search([1, 0, 0], rows=np.asarray(rows)[1:], k=1).n_unknown == 1
    )
    index.upsert([40], [[9, 9, 9]], {k: v[:1] for k, v in columns.items()})
    assert index.n_rows == 7, "the row of a removed item is used again"
    assert index.search([1, 1, 1], 10).ids[0] == -3 and len(index.search([1, 1, 1], 10).ids) == 4


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_save_drops_free_rows_and_keeps_every_write(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    index = ItemIndex.build(np.arange(100), rng.standard_normal((100, 9)), dtype, rescore=dtype == "int8")  # type: ignore[arg-type]
    index.remove(np.arange(0, 100, 3))
    index.upsert(np.arange(200, 210), rng.standard_normal((10, 9)), model_version=1)
    index.adjust(np.arange(50), scale=2, offset=-1)
    index.block([4, 205])
    index.save(tmp_path / "index.karec")
    opened = ItemIndex.open(tmp_path / "index.karec")
    assert len(opened) == opened.n_rows == len(index) == 76 and opened.model_versions == (0, 1)
    queries = {0: rng.standard_normal(9), 1: rng.standard_normal(9)}
    target = rng.permutation(210)
    for saved in (opened, ItemIndex.open(tmp_path / "index.karec", verify=False)):
        expected = index.search(queries, ids=target, k=50)
        result = saved.search(queries, ids=target, k=50)
        np.testing.assert_array_equal(result.scores, expected.scores)
        np.testing.assert_array_equal(result.ids, expected.ids)
        saved.unblock([4])
        saved.upsert([1], [[1] * 9])
        assert len(saved.search(queries, ids=target, k=100).ids) == 75


BAD_WRITES = [
    (lambda i: i.adjust([7], scale=np.nan), "scale holds NaN at position 0"),
    (lambda i: i.adjust([7], scale=[1, 2]), r"scale has shape \(2,\), expected \(1,\)"),
    (lambda i: i.adjust([7]), "a scale, an offset or both"),
    (lambda i: i.block([1.5]), "ids has dtype float64"),
    (lambda i: i.upsert([1], [[1, 2]]), r"embeddings has shape \(1, 2\), expected \(1, 3\)"),
    (lambda i: i.upsert([1], [[1, 2, 3]]), "column 'creator_id' is missing"),
    (lambda i: i.upsert([1, 1], [[1, 2, 3]] * 2), "1 appears twice"),
    (lambda i: i.upsert([7], [[1, np.inf, 3]]), r"infinity at \(0, 1\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_WRITES)
def test_refused_write_changes_nothing(index: ItemIndex, call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(index)
    assert index.generation == 1 and len(index) == 4


@pytest.mark.parametrize("ids", [["a", "b"], np.array(["a", "b"], object), np.array([b"a", b"b"])])
def test_build_with_texts_as_ids_names_the_map_of_ids(ids: object) -> None:
    with pytest.raises(ValueError, match=r"item_ids are texts, expected int64.*IdMap\.build"):
        ItemIndex.build(ids, np.ones((2, 3), np.float32))  # type: ignore[arg-type]
