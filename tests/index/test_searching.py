"""Searches by ids or rows, of one query or several, in parallel, by model version."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from four_works import IDS, VECTORS

from karec.index import ItemIndex
from karec.where import Where


def test_search_takes_candidates_as_ids_or_as_rows(index: ItemIndex) -> None:
    by_ids = index.search([1, 0, 0], ids=[7, 99, -3, 40], k=2)
    scores, ids = by_ids
    assert ids.tolist() == [7, -3] and scores.tolist() == [9.0, 3.0]
    assert by_ids.positions.tolist() == [0, 2] and by_ids.rows.tolist() == [3, 1]
    assert by_ids.n_unknown == 1 and by_ids.generation == 1
    by_rows = index.search([1, 0, 0], rows=index.lookup([7, 99, -3, 40]), k=2)
    assert by_rows.ids.tolist() == ids.tolist() and by_rows.n_unknown == 1
    assert index.lookup([7, 99, 2**62]).tolist() == [3, -1, 2]


def test_search_returns_at_most_the_number_of_candidates(index: ItemIndex) -> None:
    assert len(index.search([1, 0, 0], rows=[0, 1], k=10).ids) == 2
    assert len(index.search([1, 0, 0], rows=[], k=10).ids) == 0
    assert len(index.search([1, 0, 0], ids=[5, 6], k=10).ids) == 0
    empty = ItemIndex.build([], np.zeros((0, 3)))
    assert len(empty) == 0 and empty.search([1, 0, 0], 5).ids.shape == (0,)
    assert empty.search([[1, 0, 0]], 5).ids.shape == (1, 0)
    assert empty.lookup([1]).tolist() == [-1]


def test_scores_fills_out(index: ItemIndex) -> None:
    buffer = np.full(3, 5, np.float32)
    out = index.scores([0, 0, 1], rows=[3, -1, 0], out=buffer)
    assert out is buffer and buffer.tolist() == [11.0, -np.inf, 2.0]


def test_searches_run_in_parallel(index: ItemIndex) -> None:
    rng = np.random.default_rng(0)
    big = ItemIndex.build(np.arange(20_000), rng.standard_normal((20_000, 32)))
    queries = rng.standard_normal((8, 32)).astype(np.float32)
    expected = [big.search(query, 10).ids.tolist() for query in queries]
    actual: list[list[list[int]]] = [[] for _ in range(4)]

    def work(thread: int) -> None:
        actual[thread] = [big.search(query, 10).ids.tolist() for query in queries]

    threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == expected for result in actual)


def test_search_scores_each_row_with_the_query_of_its_version(index: ItemIndex) -> None:
    index.upsert([50], [[1, 1, 1]], {"creator_id": [1], "quality": [1]}, model_version=8)
    assert index.model_versions == (7, 8) and index.model_version == 8
    with pytest.raises(ValueError, match=r"model versions 7, 8: give a query for each"):
        index.search([1, 0, 0], ids=[50], k=1)
    queries = {7: [1, 0, 0], 8: [0, 0, 30]}
    scores, ids = index.search(queries, ids=[50, 7, 40], k=3)
    assert ids.tolist() == [50, 7, 40] and scores.tolist() == [30.0, 9.0, 0.0]
    assert index.scores(queries, ids=[7, 50]).tolist() == [9.0, 30.0]
    everything = index.search(queries, 2)
    assert everything.ids.tolist() == [50, 7] and everything.n_unknown == 0
    assert index.search({8: [1, 1, 1]}, 9).n_unknown == 4  # works of version 7
    assert index.model_versions_of(index.lookup([50, 7, 999])).tolist() == [8, 7, 0]
    two = index.search({7: np.eye(2, 3), 8: np.zeros((2, 3))}, 9)
    assert two.ids[0, 0] == 7 and two.n_found is not None and two.n_found.tolist() == [5, 5]
    users = {7: np.eye(2, 3), 8: [[0, 0, 0], [0, 0, 5]]}
    batch = index.search(users, ids=[7, 50], k=2)
    assert batch.ids.tolist() == [[7, 50], [7, 50]] and batch.scores.tolist() == [[9.0, 0.0], [10.0, 5.0]]
    only = index.search({8: [0, 0, 1]}, ids=[50, 7], k=2)
    assert only.ids.tolist() == [50] and only.n_unknown == 1
    index.upsert(IDS, VECTORS, {"creator_id": [1] * 4, "quality": [1] * 4}, model_version=8)
    assert index.model_versions == (8,) and index.search([0, 0, 1], ids=[50], k=1).scores.tolist() == [1.0]


def test_search_of_candidates_equals_a_search_for_each_query(index: ItemIndex) -> None:
    queries, ids = np.eye(3, dtype=np.float32), np.array([7, 99, -3, 40])
    for candidates in ({"ids": ids}, {"rows": index.lookup(ids)}):
        actual = index.search(queries, 2, **candidates)
        assert actual.rows.generation == 1 and actual.n_unknown == 3
        for b, query in enumerate(queries):
            single = index.search(query, 2, **candidates)
            np.testing.assert_array_equal(actual.ids[b], single.ids)
            np.testing.assert_array_equal(actual.scores[b], single.scores)
            np.testing.assert_array_equal(actual.positions[b], single.positions)
    assert index.search(queries[:0], 2, ids=ids).ids.shape[0] == 0


def test_int8_search_is_near_and_exact_if_rescored() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((20_000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = rng.standard_normal(64).astype(np.float32)
    exact = set(np.argsort(-(vectors.astype(np.float64) @ query))[:1000].tolist())
    for rescore, least in ((False, 975), (True, 1000)):
        index = ItemIndex.build(np.arange(20_000), vectors, "int8", rescore=rescore)
        for actual in (index.search(query, rows=np.arange(20_000), k=1000), index.search(query, 1000)):
            assert len(exact & set(actual.ids.tolist())) >= least
    np.testing.assert_array_equal(index.embeddings(np.arange(50)), vectors[:50])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("n_queries", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.1, 0.13, 0.6, 1.0])
def test_search_with_a_mask_equals_the_search_of_its_rows(dtype, n_queries, share):
    """The masks are above and below the share at which a scan of many queries changes its method."""
    rng, n = np.random.default_rng(3), 1_003
    vectors = rng.standard_normal((n, 8)).astype(np.float32)
    index = ItemIndex.build(np.arange(n) + 7, vectors, dtype)
    index.block(rng.choice(n, 90, replace=False) + 7)
    index.remove(rng.choice(n, 40, replace=False) + 7)
    index.adjust(np.arange(7, 60), scale=2.0)
    queries = rng.standard_normal((n_queries, 8)).astype(np.float32)
    with index.pinned() as view:
        mask = rng.random(view.n_rows) < share
        rows = np.flatnonzero(mask & view.present).astype(np.int32)
        found = view.search(queries, 25, mask=mask)
        expected = view.search(queries, 25, rows=rows)
        width = expected.ids.shape[1]
        np.testing.assert_array_equal(found.ids[:, :width], expected.ids)
        np.testing.assert_array_equal(found.scores[:, :width], expected.scores)
        assert (found.ids[:, width:] == -1).all()


def test_search_with_a_condition_equals_the_search_with_its_mask():
    rng, n = np.random.default_rng(3), 1_003
    vectors, tags = rng.standard_normal((n, 8)).astype(np.float32), rng.integers(-1, 4, n)
    index = ItemIndex.build(np.arange(n), vectors, columns={"tag": tags})
    index.block(np.arange(0, n, 7))
    where, codes = Where.from_dict({"not": {"column": "tag", "in": ["pop", 3]}}), {"tag": {"pop": 0}}
    with index.pinned() as view:
        expected = view.search(vectors[:3], 25, mask=(tags == 1) | (tags == 2))
        for target in (view, index):
            found = target.search(vectors[:3], 25, where=where, codes=codes)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.scores, expected.scores)
    everything = index.search(vectors[0], n, where=Where(column="tag", at_least=-1))
    assert len(everything.ids) == n - len(range(0, n, 7))


def test_search_refuses_a_condition_with_a_mask_or_with_candidates(index: ItemIndex) -> None:
    where = Where(column="colour", equal=1)
    with pytest.raises(ValueError, match="no column 'colour'"):
        index.search([1, 0, 0], 2, where=where)
    with pytest.raises(ValueError, match="either mask= or where="):
        index.search([1, 0, 0], 2, where=where, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match="where and n_probe are for a search of all rows"):
        index.search([1, 0, 0], 2, where=where, rows=[1])
