"""Bad input to an index: each message names the argument, the position and the expected value."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from four_works import IDS, VECTORS

from karec.index import ItemIndex

NAN = np.array([[0, 1, 2], [3, np.nan, 5]], np.float32)

BAD_BUILDS = [
    ({"item_ids": [1, 2, 3]}, r"embeddings has shape \(4, 3\), expected \(3, D\) as ids has shape \(3,\)"),
    ({"item_ids": IDS.astype(np.float64)}, r"ids has dtype float64 and shape \(4,\), expected int64"),
    ({"item_ids": IDS.astype(np.uint64)}, "ids has dtype uint64"),
    ({"item_ids": [[1, 2, 3, 4]]}, r"ids has shape \(1, 4\), expected \(N,\)"),
    ({"item_ids": [7, 8, 9, 7]}, "7 appears twice"),
    ({"vectors": VECTORS[0]}, r"embeddings has shape \(3,\)"),
    ({"vectors": VECTORS[:, :0]}, r"embeddings has shape \(4, 0\)"),
    ({"vectors": VECTORS.astype(str)}, "embeddings has dtype <U"),
    ({"item_ids": [1, 2], "vectors": NAN}, r"embeddings holds NaN at \(1, 1\)"),
    ({"item_ids": [1, 2], "vectors": -np.nan_to_num(NAN, nan=np.inf)}, r"infinity at \(1, 1\)"),
    ({"item_ids": [1, 2], "vectors": np.nan_to_num(NAN, nan=70000)}, r"at \(1, 1\) that float16 cannot"),
    ({"dtype": "int4"}, "dtype must be 'float16', 'float32' or 'int8', got 'int4'"),
    ({"columns": {"c": [1, 2]}}, r"column 'c' has shape \(2,\), expected \(4,\)"),
    ({"columns": {"c": ["a", "b", "c", "d"]}}, "column 'c' has dtype <U1"),
    ({"columns": {"": [1, 2, 3, 4]}}, "name"),
    ({"columns": {"x" * 96: [1, 2, 3, 4]}}, "name"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_BUILDS)
def test_build_refuses_wrong_shapes_dtypes_and_values(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemIndex.build(**{"item_ids": IDS, "vectors": VECTORS, **changes})


BAD_SEARCHES = [
    ({"k": 0}, "k must be positive, got 0"),
    ({"k": -1}, "k must be positive, got -1"),
    ({"queries": [1, 2]}, r"query has shape \(2,\), expected \(3,\)"),
    ({"queries": [[1, 2]]}, r"queries has shape \(1, 2\), expected \(B, 3\)"),
    ({"queries": 1.0}, r"queries has shape \(\), expected \(B, 3\)"),
    ({"queries": {}}, r"queries is \{\}, expected an array or \{model version: array\}"),
    ({"queries": [1, np.inf, np.nan]}, "query holds infinity at position 1"),
    ({"rows": [0, 4]}, "rows holds 4 at position 1"),
    ({"rows": [0, -2]}, "rows holds -2 at position 1"),
    ({"rows": [0, 2**31]}, "rows holds 2147483648 at position 1, expected int32"),
    ({"rows": [0.0]}, "rows has dtype float64"),
    ({"ids": [1]}, "either as ids= or as rows="),
    ({"mask": [True]}, "mask, where and n_probe are for a search of all rows"),
    ({"n_probe": 1}, "mask, where and n_probe are for a search of all rows"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SEARCHES)
def test_search_refuses_wrong_k_shapes_and_rows(index: ItemIndex, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(**{"queries": [1, 2, 3], "rows": [0], "k": 1, **changes})


BAD_SEARCHES_OF_ALL_ROWS = [
    ({"k": 0}, "k must be positive"),
    ({"queries": [[1, 2]]}, r"queries has shape \(1, 2\), expected \(B, 3\)"),
    ({"queries": [[1, 2, 3], [1, np.nan, 3]]}, "query 1 holds NaN at position 1"),
    ({"mask": [True]}, r"mask has 1 entries, generation 1 of the index has 4 rows: make the mask"),
    ({"mask": [1, 0, 1, 0]}, "mask has dtype int64"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SEARCHES_OF_ALL_ROWS)
def test_search_of_all_rows_refuses_wrong_k_shapes_and_masks(
    index: ItemIndex, changes: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(**{"queries": [1, 2, 3], "k": 1, **changes})


@pytest.mark.parametrize(
    "out", [np.zeros(1, np.float32), np.zeros(2), np.zeros((2, 1), np.float32), np.zeros(4, np.float32)[::2]]
)
def test_scores_refuses_an_out_of_another_shape_or_dtype(index: ItemIndex, out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"out has shape .* expected \(2,\) float32"):
        index.scores([1, 2, 3], rows=[0, 1], out=out)


def test_scores_refuses_a_read_only_out(index: ItemIndex) -> None:
    out = np.zeros(2, np.float32)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="writeable"):
        index.scores([1, 2, 3], rows=[0, 1], out=out)


def test_missing_paths_and_folders_raise_os_errors(index: ItemIndex, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ItemIndex.open(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        ItemIndex.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        index.save(tmp_path / "no" / "such" / "folder")
    assert os.listdir(tmp_path) == []


def test_model_versions_must_be_int64(index: ItemIndex) -> None:
    with pytest.raises(TypeError, match="integer"):
        index.search({7.5: [1, 0, 0]}, ids=[7], k=1)  # type: ignore[dict-item]
    for write in (
        lambda: index.upsert([1], [[1, 2, 3]], {"creator_id": [1], "quality": [1]}, model_version=2**63),
        lambda: ItemIndex.build([1], [[1]], model_version=-(2**63) - 1),
    ):
        with pytest.raises(ValueError, match="a model version is an int64"):
            write()
    for version in (-(2**63), 2**63 - 1):
        assert ItemIndex.build([1], [[1]], model_version=version).model_version == version


def test_open_and_save_refuse_a_path_with_a_nul_byte(index: ItemIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"(?i)nul"):
        ItemIndex.open(f"{tmp_path}/a\0b")
    with pytest.raises(ValueError, match=r"(?i)nul"):
        index.save(f"{tmp_path}/b\0c")
    assert not (tmp_path / "b").exists()


def test_k_must_be_a_whole_number(index: ItemIndex) -> None:
    for search in (
        lambda k: index.search([1, 0, 0], ids=[7], k=k),
        lambda k: index.search([[1, 0, 0]], ids=[7], k=k),
        lambda k: index.search([1, 0, 0], k),
        lambda k: index.dpp_select([0], [1.0], k),
    ):
        for k in (2.5, "2", None):
            with pytest.raises(TypeError, match="k must be a whole number"):
                search(k)
