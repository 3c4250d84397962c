"""Codes of items, and scores with tables of a query."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec.index import CodeTable, ItemIndex
from karec.kernels.scoring import score_top_k, sum_tables

LAST_CODE = 2**32 - 1
NAMES = ("creator_id", "tag", "song_id")  # columns of large, small and large codes


def draw_codes(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    creators = rng.choice([0, 1, 4094, 4095, 4096, 70_000, LAST_CODE - 1, LAST_CODE], n)
    return {
        "creator_id": creators,
        "tag": rng.integers(0, 30, n),
        "song_id": rng.integers(0, 30_000, n),
    }


def draw_table(rng: np.random.Generator, codes: NDArray[Any]) -> CodeTable:
    """Returns a table of some of ``codes``, all or none."""
    known = np.unique(rng.choice(codes, rng.integers(0, len(codes) + 1)))
    values = rng.standard_normal(len(known)).astype(np.float32)
    return CodeTable(known, values, float(np.float32(rng.standard_normal())))


def draw_tables(rng: np.random.Generator, codes: Mapping[str, NDArray[Any]]) -> dict[str, CodeTable]:
    return {name: draw_table(rng, codes[name]) for name in reversed(NAMES)}


def sum_of(tables: Mapping[str, CodeTable], codes: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Returns the sums of the reference by item."""
    given_tables = [(tables[name].codes, tables[name].values, tables[name].other) for name in NAMES]
    return sum_tables(np.stack([codes[name] for name in NAMES], axis=1).astype(np.uint32), given_tables)


def draw_index(
    rng: np.random.Generator, n: int, dtype: Any = "float16", dim: int = 20, **options: Any
) -> tuple[ItemIndex, NDArray[np.float32], dict[str, NDArray[Any]]]:
    vectors, codes = rng.standard_normal((n, dim)).astype(np.float32), draw_codes(rng, n)
    return ItemIndex.build(np.arange(n), vectors, dtype, codes=codes, **options), vectors, codes


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    k=st.integers(1, 400),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_search_with_tables_has_the_bits_of_the_reference(seed: int, n: int, k: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    index, vectors, codes = draw_index(rng, n, dtype)
    query, tables = rng.standard_normal(20).astype(np.float32), draw_tables(rng, codes)
    stored, sums, rows = vectors.astype(dtype), sum_of(tables, codes), rng.integers(0, n, 2 * n)
    for found, given_rows in (
        (index.search(query, k, tables=tables), None),
        (index.search(query, k, rows=rows, tables=tables), rows),
        (index.search(query, k, ids=rows, tables=tables), rows),
    ):
        scores, positions = score_top_k(stored, query, k, given_rows, sums)
        assert found.positions.tolist() == positions.tolist()
        assert found.scores.tobytes() == scores.tobytes()
    every_score = index.scores(query, rows=np.arange(n), tables=tables)
    scores, positions = score_top_k(stored, query, n, sums=sums)
    assert every_score[positions].tobytes() == scores.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_scores_add_tables_before_scales_of_version_and_item(dtype: str) -> None:
    rng = np.random.default_rng(1)
    index, _, codes = draw_index(rng, 500, dtype)
    query, tables, ids = rng.standard_normal(20), draw_tables(rng, codes), np.arange(500)
    products = index.scores(query, ids=ids)
    scale, offset = rng.uniform(0.5, 2, (2, 500)).astype(np.float32)
    index.calibrate(0, scale=0.25, offset=3)
    index.adjust(ids, scale=scale, offset=offset)
    expected = ((products + sum_of(tables, codes)) * np.float32(0.25) + np.float32(3)) * scale + offset
    assert index.scores(query, ids=ids, tables=tables).tobytes() == expected.tobytes()
    found = index.search(query, 20, tables=tables)
    assert found.scores.tobytes() == expected[found.ids].tobytes() == np.sort(expected)[:-21:-1].tobytes()


def test_codes_of_one_hash_have_their_own_values() -> None:
    inverse = pow(0x9E3779B1, -1, 2**32)  # of the factor in native/src/search/code_tables.cpp
    codes = np.array([hash_ * inverse % 2**32 for hash_ in range(200)])  # in one slot, with one entry
    index = ItemIndex.build(np.arange(200), np.zeros((200, 1)), codes={"creator_id": codes})
    known = np.sort(codes[::2])
    table = CodeTable(known, np.arange(1, 101, dtype=np.float32), -5)
    scores = index.scores([0], rows=np.arange(200), tables={"creator_id": table})
    assert (
        scores.tolist() == sum_tables(codes.astype(np.uint32)[:, None], [(known, table.values, -5)]).tolist()
    )
    assert (scores[1::2] == -5).all() and (scores[::2] > 0).all()


def test_search_with_masks_lists_and_several_queries_finds_the_best_scores() -> None:
    rng = np.random.default_rng(2)
    index, _, codes = draw_index(rng, 3000)
    queries, mask = rng.standard_normal((4, 20)), rng.random(3000) < 0.3
    tables = [draw_tables(rng, codes) for _ in queries]
    expected = [
        index.scores(query, ids=np.arange(3000), tables=own)
        for query, own in zip(queries, tables, strict=True)
    ]
    for k in (10, 2000):
        found, masked = (index.search(queries, k, tables=tables, mask=m) for m in (None, mask))
        by_ids = index.search(queries, k, ids=np.arange(3000), tables=tables)
        for q, scores in enumerate(expected):
            order = np.argsort(-scores, kind="stable")
            assert found.ids[q].tolist() == by_ids.ids[q].tolist() == order[:k].tolist()
            assert found.scores[q].tobytes() == scores[order[:k]].tobytes()
            allowed = order[mask[order]][:k]
            assert masked.ids[q, : len(allowed)].tolist() == allowed.tolist()
    index.build_lists(20)
    for k in (10, 2000):
        some = index.search(queries[0], k, tables=tables[0], n_probe=5)
        assert some.scores.tobytes() == expected[0][some.ids].tobytes()
        every = index.search(queries[0], k, tables=tables[0], n_probe=20)
        np.testing.assert_array_equal(np.sort(every.scores), np.sort(expected[0])[-k:])


def test_rescored_search_adds_tables() -> None:
    rng = np.random.default_rng(3)
    index, vectors, codes = draw_index(rng, 2000, "int8", rescore=True)
    query, tables = rng.standard_normal(20).astype(np.float32), draw_tables(rng, codes)
    scores, positions = score_top_k(vectors, query, 20, sums=sum_of(tables, codes))
    found = index.search(query, 20, tables=tables)
    assert found.ids.tolist() == positions.tolist() and found.scores.tobytes() == scores.tobytes()


def test_rows_of_each_version_have_its_own_tables() -> None:
    codes = {"tag": np.array([1, 2, 3])}
    index = ItemIndex.build([10, 11, 12], np.zeros((3, 2)), model_version=7, codes=codes)
    index.upsert([11, 13], np.zeros((2, 2)), model_version=8, codes={"tag": [1, 2]})
    queries = {7: [0, 0], 8: [0, 0]}
    tables = {
        7: {"tag": CodeTable(np.array([1]), np.array([0.5]), 2.0)},
        8: {"tag": CodeTable(np.array([1]), np.array([4.0]), 1.0)},
    }
    scores = index.scores(queries, ids=[10, 11, 12, 13, 99], tables=tables)
    assert scores.tolist() == [0.5, 4.0, 2.0, 1.0, -np.inf]
    assert index.search(queries, 4, tables=tables).ids.tolist() == [11, 12, 13, 10]
    narrow = index.scores(queries, ids=[10, 11], tables=tables | {7: None})
    assert narrow.tolist() == [0.0, 4.0]
    batch = {version: [[0, 0]] * 3 for version in queries}
    by_query = {version: [own] * 3 for version, own in tables.items()}
    assert index.search(batch, 1, tables=by_query).ids.tolist() == [[11]] * 3
    with pytest.raises(ValueError, match=r"tables must be \{model version: tables\} of \[7, 8\], as queries"):
        index.scores(queries, ids=[10], tables=tables[7])


def test_writes_and_files_keep_the_codes_of_items(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    index, vectors, codes = draw_index(rng, 400, columns={"quality": np.arange(400)})
    tables = draw_tables(rng, codes)
    changed = rng.choice(400, 50, replace=False)
    fresh = draw_codes(rng, 50)
    index.upsert(changed, vectors[changed], codes=fresh)
    for name in NAMES:
        codes[name][changed] = fresh[name]
    kept = np.setdiff1d(np.arange(400), [3, 5])
    index.remove([3, 5])
    expected = sum_of(tables, codes)[kept]

    def check(copy: ItemIndex) -> None:
        assert copy.schema.code_columns == NAMES and copy.pinned().code_columns == NAMES
        np.testing.assert_array_equal(copy.scores(np.zeros(20), ids=kept, tables=tables), expected)

    check(index)
    index.save(tmp_path / "coded.karec")
    for copy in (False, True):
        check(ItemIndex.open(tmp_path / "coded.karec", copy=copy, verify=copy))
    index.adjust([1], offset=0)
    index.build_lists(10)
    check(index)
    index.save(tmp_path / "coded.karec")
    mapped = ItemIndex.open(tmp_path / "coded.karec")
    mapped.upsert([7], vectors[[7]], codes={name: codes[name][[7]] for name in NAMES})
    check(mapped)
    assert mapped.nbytes > ItemIndex.build(np.arange(400), vectors).nbytes + 16 * 400


def test_upsert_needs_every_code_column() -> None:
    index, vectors, codes = draw_index(np.random.default_rng(5), 3)
    codes = {name: codes[name][:1] for name in NAMES}
    for given_codes, message in (
        (None, "code column 'creator_id' is missing"),
        ({"tag": [1]}, "code column 'creator_id' is missing"),
        ({**codes, "mood": [1]}, "has no code column 'mood'"),
        ({**codes, "tag": [1, 2]}, r"codes of 'tag' has shape \(2,\), expected \(1,\)"),
        ({**codes, "tag": [-1]}, "codes of 'tag' holds -1 at position 0, expected uint32"),
        ({**codes, "tag": [2**32]}, "codes of 'tag' holds 4294967296 at position 0"),
        ({**codes, "tag": [0.5]}, "codes of 'tag' has dtype float64"),
    ):
        with pytest.raises(ValueError, match=message):
            index.upsert([0], vectors[:1], codes=given_codes)
    assert index.generation == 1


def test_build_refuses_more_than_16_code_columns_and_bad_names() -> None:
    with pytest.raises(ValueError, match="at most 16 code columns, got 17"):
        ItemIndex.build([1], [[1]], codes={str(c): [0] for c in range(17)})
    with pytest.raises(ValueError, match="a column's name has 1 to 95 bytes"):
        ItemIndex.build([1], [[1]], codes={"": [0]})
    index = ItemIndex.build([1], [[1]], codes={str(c): [c] for c in range(16)})
    table = CodeTable(np.array([3, 15]), np.array([1.0, 2.0]), 0.5)
    assert index.scores([0], ids=[1], tables=dict.fromkeys(index.code_columns, table)).tolist() == [10.0]


ONE = CodeTable(np.array([1]), np.array([1.0]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (CodeTable(np.array([2, 1]), np.ones(2)), "holds 1 at position 1 after 2, expected ascending codes"),
        (CodeTable(np.array([5, 5]), np.ones(2)), "holds 5 at position 1 after 5"),
        (CodeTable(np.array([1, 2]), np.array([0, np.nan])), "table 'tag': values holds NaN at position 1"),
        (CodeTable(np.array([1]), np.array([-np.inf])), "table 'tag': values holds infinity at position 0"),
        (CodeTable(np.array([1]), np.ones(1), np.nan), "table 'tag': other holds NaN"),
        (CodeTable(np.array([1, 2]), np.ones(1)), "codes has 2 entries, values has 1"),
        (CodeTable(np.array([-1]), np.ones(1)), "table 'tag': codes holds -1 at position 0, expected uint32"),
    ],
)
def test_searches_refuse_tables_with_bad_values(table: CodeTable, message: str) -> None:
    index = ItemIndex.build([1, 2], [[1], [2]], codes={"tag": [1, 2], "era": [1, 2]})
    tables = {"era": ONE, "tag": table}
    for call in (
        lambda: index.scores([1], ids=[1], tables=tables),
        lambda: index.search([1], 1, rows=[0], tables=tables),
        lambda: index.search([[1], [1]], 1, tables=[{"era": ONE, "tag": ONE}, tables]),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_searches_name_a_missing_or_an_unknown_code_column() -> None:
    index = ItemIndex.build([1, 2], [[1], [2]], codes={"tag": [1, 2], "era": [1, 2]})
    with pytest.raises(ValueError, match="no table for the code column 'era'"):
        index.scores([1], ids=[1], tables={"tag": ONE})
    with pytest.raises(ValueError, match=r"no code column 'tags' \(did you mean 'tag'\?\)"):
        index.search([1], 1, tables={"tags": ONE, "era": ONE})
    both = {"tag": ONE, "era": ONE}
    with pytest.raises(ValueError, match="a list of mappings for several"):
        index.search([[1], [2]], 1, tables=both)
    with pytest.raises(ValueError, match="tables has 1 entries for 2 queries"):
        index.search([[1], [2]], 1, tables=[both])
    with pytest.raises(ValueError, match="has no code column 'tag'"):
        ItemIndex.build([1], [[1]]).scores([1], ids=[1], tables=both)
