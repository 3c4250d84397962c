"""The item index through its Python face, on either backend: what goes in comes out, what does not fit is named."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from karec.index import ItemIndex

pytestmark = pytest.mark.usefixtures("backend")

IDS = np.array([40, -3, 2**62, 7])
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def index() -> ItemIndex:
    columns = {"creator_id": np.array([9, 9, 8, 7]), "quality": np.array([0.1, 0.2, 0.3, 0.4], np.float16)}
    return ItemIndex.build(IDS, VECTORS, columns=columns, model_version=7)


def test_an_index_says_what_it_holds(index: ItemIndex) -> None:
    assert (len(index), index.dim, index.dtype, index.model_version, index.generation) == (4, 3, np.float16, 7, 1)
    np.testing.assert_array_equal(index.ids, IDS)
    np.testing.assert_array_equal(index.columns["creator_id"], [9, 9, 8, 7])
    assert index.columns["quality"].dtype == np.float16 and set(index.columns) == {"creator_id", "quality"}
    np.testing.assert_array_equal(index.embeddings([2, -1, 0]), [[6, 7, 8], [0, 0, 0], [0, 1, 2]])


def test_its_arrays_are_read_only_views_that_outlive_it(index: ItemIndex) -> None:
    ids, creators = index.ids, index.columns["creator_id"]
    del index
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
    assert ids.tolist() == IDS.tolist() and creators.tolist() == [9, 9, 8, 7]


def test_candidates_come_as_ids_or_as_rows(index: ItemIndex) -> None:
    by_ids = index.search([1, 0, 0], ids=[7, 99, -3, 40], k=2)
    scores, ids = by_ids
    assert ids.tolist() == [7, -3] and scores.tolist() == [9.0, 3.0]
    assert by_ids.positions.tolist() == [0, 2] and by_ids.rows.tolist() == [3, 1]
    assert by_ids.unknown == 1 and by_ids.generation == 1
    by_rows = index.search([1, 0, 0], rows=index.lookup([7, 99, -3, 40]), k=2)
    assert by_rows.ids.tolist() == ids.tolist() and by_rows.unknown == 1
    assert index.lookup([7, 99, 2**62]).tolist() == [3, -1, 2]


def test_k_above_n_gives_n_and_nothing_gives_nothing(index: ItemIndex) -> None:
    assert len(index.search([1, 0, 0], rows=[0, 1], k=10).ids) == 2
    assert len(index.search([1, 0, 0], rows=[], k=10).ids) == 0
    assert len(index.search([1, 0, 0], ids=[5, 6], k=10).ids) == 0
    empty = ItemIndex.build([], np.zeros((0, 3)))
    assert len(empty) == 0 and empty.search_all([1, 0, 0], 5).ids.shape == (0,)
    assert empty.search_all([[1, 0, 0]], 5).ids.shape == (1, 0)
    assert empty.lookup([1]).tolist() == [-1]


def test_scores_fill_the_callers_buffer(index: ItemIndex) -> None:
    buffer = np.full(3, 5, np.float32)
    out = index.scores([0, 0, 1], rows=[3, -1, 0], out=buffer)
    assert out is buffer and buffer.tolist() == [11.0, -np.inf, 2.0]


@settings(max_examples=200, deadline=None)
@given(values=hnp.arrays(np.float32, (7, 5), elements=st.floats(-65519, 65519, width=32)))
def test_float16_rounds_to_nearest_even_as_numpy_does(values: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).astype(np.float32)
    stored = ItemIndex.build(np.arange(7), values).embeddings(np.arange(7))
    np.testing.assert_array_equal(stored, expected)


def test_every_float16_survives() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    index = ItemIndex.build(np.arange(len(halves)), halves)
    np.testing.assert_array_equal(index.embeddings(np.arange(len(halves))), halves.astype(np.float32))
    np.testing.assert_array_equal(index.scores([1.0], rows=np.arange(len(halves))), halves[:, 0].astype(np.float32))


@settings(max_examples=100, deadline=None)
@given(known=st.sets(st.integers(-(2**63), 2**63 - 1), max_size=400), wanted=st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_lookup_is_a_dictionary(known: set[int], wanted: list[int]) -> None:
    ids = np.array(sorted(known), np.int64)
    row_of = {int(i): row for row, i in enumerate(ids)}
    asked = np.array([*wanted, *row_of], np.int64)
    rows = ItemIndex.build(ids, np.ones((len(ids), 1))).lookup(asked)
    assert rows.tolist() == [row_of.get(int(i), -1) for i in asked]


def test_input_that_is_not_contiguous_or_of_another_dtype_is_converted(index: ItemIndex) -> None:
    query = np.array([1.0, 9.0, 0.0, 9.0, 0.0])[::2]
    rows = np.array([3, 0, 1, 0], np.int64)[::2]
    assert index.scores(query, rows=rows).tolist() == [9.0, 3.0]
    assert index.scores(query.astype(">f4"), rows=rows.astype(np.uint8)).tolist() == [9.0, 3.0]
    strided = ItemIndex.build(IDS[::2], np.asfortranarray(VECTORS)[::2])
    np.testing.assert_array_equal(strided.embeddings([0, 1]), VECTORS[::2])


def test_contiguous_input_is_not_copied() -> None:
    """The search reads the caller's arrays: an address that NumPy would have to copy is the only way to tell, so the
    memory that a search of 10 million rows takes is compared with the size of a copy."""
    import tracemalloc

    index = ItemIndex.build([1], np.ones((1, 1)))
    rows = np.zeros(10_000_000, np.int32)
    tracemalloc.start()
    index.search([1.0], rows=rows, k=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 10


def test_searches_run_side_by_side(index: ItemIndex) -> None:
    rng = np.random.default_rng(0)
    big = ItemIndex.build(np.arange(20_000), rng.standard_normal((20_000, 32)))
    queries = rng.standard_normal((8, 32)).astype(np.float32)
    expected = [big.search_all(query, 10).ids.tolist() for query in queries]
    found: list[list[list[int]]] = [[] for _ in range(4)]

    def work(thread: int) -> None:
        found[thread] = [big.search_all(query, 10).ids.tolist() for query in queries]

    threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == expected for result in found)


NAN = np.array([[0, 1, 2], [3, np.nan, 5]], np.float32)
BAD_BUILDS = [
    ({"ids": [1, 2, 3]}, r"embeddings has shape \(4, 3\), expected \(3, D\) as ids has shape \(3,\)"),
    ({"ids": IDS.astype(np.float64)}, r"ids has dtype float64 and shape \(4,\), expected int64"),
    ({"ids": IDS.astype(np.uint64)}, "ids has dtype uint64"),
    ({"ids": [[1, 2, 3, 4]]}, r"ids has shape \(1, 4\), expected \(N,\)"),
    ({"ids": [7, 8, 9, 7]}, "7 stands twice"),
    ({"embeddings": VECTORS[0]}, r"embeddings has shape \(3,\)"),
    ({"embeddings": VECTORS[:, :0]}, r"embeddings has shape \(4, 0\)"),
    ({"embeddings": VECTORS.astype(str)}, "embeddings has dtype <U"),
    ({"ids": [1, 2], "embeddings": NAN}, r"embeddings holds NaN at \(1, 1\)"),
    ({"ids": [1, 2], "embeddings": -np.nan_to_num(NAN, nan=np.inf)}, r"infinity at \(1, 1\)"),
    ({"ids": [1, 2], "embeddings": np.nan_to_num(NAN, nan=70000)}, r"at \(1, 1\) that float16 cannot"),
    ({"dtype": "int4"}, "dtype must be 'float16', 'float32' or 'int8', got 'int4'"),
    ({"columns": {"c": [1, 2]}}, r"column 'c' has shape \(2,\), expected \(4,\)"),
    ({"columns": {"c": ["a", "b", "c", "d"]}}, "column 'c' has dtype <U1"),
    ({"columns": {"": [1, 2, 3, 4]}}, "name"),
    ({"columns": {"x" * 96: [1, 2, 3, 4]}}, "name"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_BUILDS)
def test_a_build_names_what_does_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemIndex.build(**{"ids": IDS, "embeddings": VECTORS, **changes})


def test_a_work_is_adjusted_blocked_and_freed(index: ItemIndex) -> None:
    assert index.adjust([7, 99, 40], scale=[2, 5, 1], offset=[-1, 5, 0.5]) == 1
    scores, ids = index.search([1, 0, 0], ids=IDS, k=4)
    assert dict(zip(ids.tolist(), scores.tolist(), strict=True)) == {7: 17.0, 2**62: 6.0, -3: 3.0, 40: 0.5}
    index.adjust([7], offset=0)
    assert index.scores([1, 0, 0], ids=[7]).tolist() == [18.0]
    assert index.block([7, 5]) == 1
    found = index.search([1, 0, 0], ids=[7, 5, 40], k=4)
    assert found.ids.tolist() == [40] and (found.unknown, found.blocked) == (1, 1)
    assert index.scores([1, 0, 0], ids=[7])[0] == -np.inf and 7 not in index.search_all([1, 0, 0], 4).ids
    assert index.unblock([7]) == 0 and index.search([1, 0, 0], ids=[7], k=1).scores[0] == 18.0
    assert index.generation == 5


def test_works_come_change_and_go(index: ItemIndex) -> None:
    columns = {"creator_id": [1, 2], "quality": [0.5, 0.25]}
    index.block([7])
    index.adjust([-3], offset=100)
    index.upsert([7, 8, -3], [[1, 0, 0], [0, 2, 0], [5, 0, 0]], {k: [*v, v[0]] for k, v in columns.items()})
    assert len(index) == 5 and index.generation == 4
    assert index.search([1, 1, 0], ids=[8, -3, 7], k=3).ids.tolist() == [-3, 8]  # as adjusted and blocked as before
    assert index.scores([1, 1, 0], ids=[-3, 8]).tolist() == [105.0, 2.0]
    rows = index.lookup([8, 40])
    assert index.columns["creator_id"][rows].tolist() == [2, 9] and index.ids[rows].tolist() == [8, 40]
    assert index.present.sum() == 5 and index.n_rows == 7
    assert index.remove([40, 40, 12345]) == 1 and len(index) == 4
    assert index.lookup([40]).tolist() == [-1] and index.search([1, 0, 0], rows=np.asarray(rows)[1:], k=1).unknown == 1
    index.upsert([40], [[9, 9, 9]], {k: v[:1] for k, v in columns.items()})
    assert index.n_rows == 7, "the row of a removed work is used again"
    assert index.search_all([1, 1, 1], 10).ids[0] == -3 and len(index.search_all([1, 1, 1], 10).ids) == 4


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_what_was_written_is_saved_in_as_few_rows(tmp_path: Path, dtype: str) -> None:
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
    wanted = rng.permutation(210)
    for saved in (opened, ItemIndex.open(tmp_path / "index.karec", verify=False)):
        expected = index.search(query_by_version=queries, ids=wanted, k=50)
        found = saved.search(query_by_version=queries, ids=wanted, k=50)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.ids, expected.ids)
        saved.unblock([4])
        saved.upsert([1], [[1] * 9])
        assert len(saved.search(query_by_version=queries, ids=wanted, k=100).ids) == 75


def test_each_row_meets_the_query_of_its_own_version(index: ItemIndex) -> None:
    index.upsert([50], [[1, 1, 1]], {"creator_id": [1], "quality": [1]}, model_version=8)
    assert index.model_versions == (7, 8) and index.model_version == 8
    with pytest.raises(ValueError, match=r"model versions 7, 8: give a query for each"):
        index.search([1, 0, 0], ids=[50], k=1)
    queries = {7: [1, 0, 0], 8: [0, 0, 30]}
    scores, ids = index.search(query_by_version=queries, ids=[50, 7, 40], k=3)
    assert ids.tolist() == [50, 7, 40] and scores.tolist() == [30.0, 9.0, 0.0]
    assert index.scores(query_by_version=queries, ids=[7, 50]).tolist() == [9.0, 30.0]
    assert index.search_all(k=2, query_by_version=queries).ids.tolist() == [50, 7]
    two = index.search_all(k=9, query_by_version={7: np.eye(2, 3), 8: np.zeros((2, 3))})
    assert two.ids[0, 0] == 7 and two.found is not None and two.found.tolist() == [5, 5]
    users = {7: np.eye(2, 3), 8: [[0, 0, 0], [0, 0, 5]]}
    batch = index.search_batch(query_by_version=users, ids=[7, 50, 50], indptr=[0, 2, 3], k=2)
    assert batch.ids.tolist() == [[7, 50], [50, -1]] and batch.scores.tolist() == [[9.0, 0.0], [5.0, -np.inf]]
    only = index.search(query_by_version={8: [0, 0, 1]}, ids=[50, 7], k=2)
    assert only.ids.tolist() == [50] and only.unknown == 1
    index.upsert(IDS, VECTORS, {"creator_id": [1] * 4, "quality": [1] * 4}, model_version=8)
    assert index.model_versions == (8,) and index.search([0, 0, 1], ids=[50], k=1).scores.tolist() == [1.0]


def test_a_batch_is_a_search_for_each_user(index: ItemIndex) -> None:
    queries = np.eye(3, dtype=np.float32)
    flat, indptr = np.array([7, 99, -3, 40, 7]), [0, 3, 3, 5]
    batch = index.search_batch(queries, ids=flat, indptr=indptr, k=2)
    assert batch.ids.tolist() == [[7, -3], [-1, -1], [7, 40]] and batch.found.tolist() == [2, 0, 2]  # type: ignore[union-attr]
    assert batch.positions.tolist() == [[0, 2], [-1, -1], [1, 0]] and batch.scores[1].tolist() == [-np.inf] * 2
    assert batch.unknown == 1
    by_rows = index.search_batch(queries, rows=index.lookup(flat), indptr=indptr, k=2)
    np.testing.assert_array_equal(by_rows.ids, batch.ids)


def test_int8_is_near_and_rescored_is_exact() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20_000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = rng.standard_normal(64).astype(np.float32)
    exact = set(np.argsort(-(vectors.astype(np.float64) @ query))[:1000].tolist())
    for rescore, least in ((False, 975), (True, 1000)):
        index = ItemIndex.build(np.arange(20_000), vectors, "int8", rescore=rescore)
        for found in (index.search(query, rows=np.arange(20_000), k=1000), index.search_all(query, 1000)):
            assert len(exact & set(found.ids.tolist())) >= least
    np.testing.assert_array_equal(index.embeddings(np.arange(50)), vectors[:50])


BAD_WRITES = [
    (lambda i: i.adjust([7], scale=np.nan), "scale holds NaN at position 0"),
    (lambda i: i.adjust([7], scale=[1, 2]), r"scale has shape \(2,\), expected \(1,\)"),
    (lambda i: i.adjust([7]), "a scale, an offset or both"),
    (lambda i: i.block([1.5]), "ids has dtype float64"),
    (lambda i: i.upsert([1], [[1, 2]]), r"embeddings has shape \(1, 2\), expected \(1, 3\)"),
    (lambda i: i.upsert([1], [[1, 2, 3]]), "column 'creator_id' is missing"),
    (lambda i: i.upsert([1, 1], [[1, 2, 3]] * 2), "1 stands twice"),
    (lambda i: i.upsert([1], [[1, np.inf, 3]]), r"infinity at \(0, 1\)"),
    (lambda i: i.search_batch([[1, 2, 3]], rows=[0], indptr=[0, 2], k=1), "indptr ends at 2, expected 1"),
    (lambda i: i.search_batch([[1, 2, 3]], rows=[0], indptr=[0], k=1), r"indptr has shape \(1,\), expected \(2,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD_WRITES)
def test_a_write_names_what_does_not_fit_and_changes_nothing(index: ItemIndex, call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(index)
    assert index.generation == 1 and len(index) == 4


BAD_SEARCHES = [
    ({"k": 0}, "k must be positive, got 0"),
    ({"k": -1}, "k must be positive, got -1"),
    ({"query": [1, 2]}, r"query has shape \(2,\), expected \(3,\)"),
    ({"query": [[1, 2, 3]]}, r"query has shape \(1, 3\), expected \(3,\)"),
    ({"query": [1, np.inf, np.nan]}, "query holds infinity at position 1"),
    ({"rows": [0, 4]}, "rows holds 4 at position 1"),
    ({"rows": [0, -2]}, "rows holds -2 at position 1"),
    ({"rows": [0, 2**31]}, "rows holds 2147483648 at position 1, expected int32"),
    ({"rows": [0.0]}, "rows has dtype float64"),
    ({"ids": [1]}, "either as ids= or as rows="),
    ({"rows": None}, "either as ids= or as rows="),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SEARCHES)
def test_a_search_names_what_does_not_fit(index: ItemIndex, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(**{"query": [1, 2, 3], "rows": [0], "k": 1, **changes})


BAD_SCANS = [
    ({"k": 0}, "k must be positive"),
    ({"queries": [[1, 2]]}, r"queries has shape \(1, 2\), expected \(B, 3\)"),
    ({"queries": [[1, 2, 3], [1, np.nan, 3]]}, "query 1 holds NaN at position 1"),
    (
        {"mask": [True]},
        r"mask has 1 entries, generation 1 of the index has 4 rows: make the mask",
    ),
    ({"mask": [1, 0, 1, 0]}, "mask has dtype int64"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SCANS)
def test_a_scan_names_what_does_not_fit(index: ItemIndex, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search_all(**{"queries": [1, 2, 3], "k": 1, **changes})


@pytest.mark.parametrize(
    "out", [np.zeros(1, np.float32), np.zeros(2), np.zeros((2, 1), np.float32), np.zeros(4, np.float32)[::2]]
)
def test_a_buffer_must_fit_exactly(index: ItemIndex, out: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"out has shape .* expected \(2,\) float32"):
        index.scores([1, 2, 3], rows=[0, 1], out=out)


def test_a_read_only_buffer_is_refused(index: ItemIndex) -> None:
    out = np.zeros(2, np.float32)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="writeable"):
        index.scores([1, 2, 3], rows=[0, 1], out=out)


def test_the_operating_system_says_no(index: ItemIndex, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ItemIndex.open(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        ItemIndex.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        index.save(tmp_path / "no" / "such" / "folder")
    assert os.listdir(tmp_path) == []


def test_model_versions_are_whole_numbers_of_64_bits(index: ItemIndex) -> None:
    with pytest.raises(TypeError, match="integer"):
        index.search(query_by_version={7.5: [1, 0, 0]}, ids=[7], k=1)  # type: ignore[dict-item]
    for write in (
        lambda: index.upsert([1], [[1, 2, 3]], {"creator_id": [1], "quality": [1]}, model_version=2**63),
        lambda: ItemIndex.build([1], [[1]], model_version=-(2**63) - 1),
    ):
        with pytest.raises(ValueError, match="a model version is an int64"):
            write()


def test_a_path_with_a_nul_byte_is_refused(index: ItemIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"(?i)nul"):
        ItemIndex.open(f"{tmp_path}/a\0b")
    with pytest.raises(ValueError, match=r"(?i)nul"):
        index.save(f"{tmp_path}/b\0c")
    assert not (tmp_path / "b").exists()


def test_k_is_a_whole_number(index: ItemIndex) -> None:
    for search in (
        lambda k: index.search([1, 0, 0], ids=[7], k=k),
        lambda k: index.search_batch([[1, 0, 0]], ids=[7], indptr=[0, 1], k=k),
        lambda k: index.search_all([1, 0, 0], k),
        lambda k: index.dpp_select([0], [1.0], k),
    ):
        for k in (2.5, "2", None):
            with pytest.raises(TypeError, match="k must be a whole number"):
                search(k)
