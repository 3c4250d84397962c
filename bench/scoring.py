"""Inner product and top-k: candidates by row and by id, scans of all items, search by lists."""

from __future__ import annotations

from functools import cache
from itertools import cycle

import numpy as np
import peers
import pytest
import workloads
from workloads import DIM, K

from karec.index import ItemIndex

WIDTH = {"float32": 4, "float16": 2, "int8": 1}
RECALL = 0.95


@cache
def index_of(n: int, dtype: str, dim: int = DIM) -> ItemIndex:
    return ItemIndex.build(workloads.item_ids(n), workloads.item_vectors(n, dim), dtype)


@cache
def row_searches(n: int, k: int) -> dict[str, peers.RowSearch]:
    return peers.row_searches(workloads.item_vectors(n), workloads.queries(1)[0], k)


def gather_costs(n: int, dtype: str, dim: int = DIM) -> dict[str, float | str]:
    """Returns the arguments of `compare` for n random rows."""
    bytes_ = n * dim * WIDTH[dtype]
    return {
        "items": n,
        "bytes_": bytes_,
        "limit": "gather_256" if dim * WIDTH[dtype] >= 256 else "gather_128",
    }


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n", [1, 100, 1_000, *workloads.N_CANDIDATES])
def test_search_rows(compare, n, dtype):
    index, query, k = index_of(workloads.N_ITEMS, dtype), workloads.queries(1)[0], min(K, n)
    draws = cycle(workloads.candidate_rows(n, workloads.N_ITEMS))
    ways = {
        name: lambda search=search: search(next(draws))
        for name, search in row_searches(workloads.N_ITEMS, k).items()
    }
    size = f"N={n} of {workloads.N_ITEMS:.0e} D={DIM} k={k} {dtype}"
    run_karec = lambda: index.search(query, rows=next(draws), k=k)  # noqa: E731
    compare("scoring: search rows", size, run_karec, ways, **gather_costs(n, dtype))


@cache
def coded_index(n: int, dim: int) -> ItemIndex:
    vectors = np.ascontiguousarray(workloads.item_vectors(n)[:, :dim])
    return ItemIndex.build(workloads.item_ids(n), vectors, codes=workloads.item_codes(n))


@pytest.mark.parametrize("dim", [32, 64])
@pytest.mark.parametrize("is_scan", [False, True])
def test_prerank_with_tables(compare, dim, is_scan):
    """Seven code columns in the score, against the inner product of 64 numbers without."""
    n, n_items = 100_000 if workloads.N_ITEMS > 100_000 else 1_000, workloads.N_ITEMS
    plain, coded = index_of(n_items, "float16"), coded_index(n_items, dim)
    query, tables = workloads.queries(1)[0], workloads.user_tables()
    draws = cycle([None] if is_scan else workloads.candidate_rows(n, n_items))
    ways = {"karec, D=64 without tables": lambda: plain.search(query, K, rows=next(draws))}
    own_query = query[:dim].copy()
    run_karec = lambda: coded.search(own_query, K, rows=next(draws), tables=tables)  # noqa: E731
    size = f"N={n_items if is_scan else n} of {n_items:.0e} D={dim} float16, {len(tables)} code columns"
    compare("scoring: prerank with tables", size, run_karec, ways, items=n_items if is_scan else n)


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_search_ids_of_adjusted_items(compare, n):
    ids, vectors = workloads.item_ids(workloads.N_ITEMS), workloads.item_vectors(workloads.N_ITEMS)
    rng, query = np.random.default_rng(5), workloads.queries(1)[0]
    scale, offset = (
        rng.uniform(0.5, 2, len(ids)).astype(np.float32),
        rng.normal(size=len(ids)).astype(np.float32),
    )
    blocked = rng.random(len(ids)) < 0.05
    index = ItemIndex.build(ids, vectors)
    index.adjust(ids, scale=scale, offset=offset)
    index.block(ids[blocked])
    order = np.argsort(ids)
    ordered = ids[order]
    draws = cycle([ids[rows] for rows in workloads.candidate_rows(n, len(ids))])

    def numpy():
        rows = order[np.searchsorted(ordered, next(draws))]
        rows = rows[~blocked[rows]]
        return peers.sampled_top_k((vectors[rows] @ query) * scale[rows] + offset[rows], K)

    run_karec = lambda: index.search(query, ids=next(draws), k=K)  # noqa: E731
    size = f"N={n} of {len(ids):.0e} D={DIM} adjusted, 5 % blocked"
    compare("scoring: search ids", size, run_karec, {"NumPy": numpy}, **gather_costs(n, "float16"))


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_scores_without_top_k(compare, n):
    index, query = index_of(workloads.N_ITEMS, "float16"), workloads.queries(1)[0]
    vectors, out = workloads.item_vectors(workloads.N_ITEMS), np.empty(n, np.float32)
    draws = cycle(workloads.candidate_rows(n, workloads.N_ITEMS))
    run_karec = lambda: index.scores(query, rows=next(draws), out=out)  # noqa: E731
    numpy = lambda: np.dot(vectors.take(next(draws), axis=0), query, out=out)  # noqa: E731
    size = f"N={n} of {workloads.N_ITEMS:.0e} D={DIM} float16"
    compare("scoring: scores", size, run_karec, {"NumPy": numpy}, **gather_costs(n, "float16"))


@pytest.mark.parametrize(
    ("n", "dim", "dtype"),
    [(0, 64, "float16"), (0, 64, "float32"), (0, 64, "int8")]
    + [(n, 64, "float16") for n in (1_000, 10_000)]
    + [(100_000, dim, dtype) for dim, dtype in ((16, "float16"), (16, "int8"), (256, "float16"))],
)
def test_scan_of_one_query(compare, n, dim, dtype):
    n = n or workloads.N_ITEMS
    index, query, k = index_of(n, dtype, dim), workloads.queries(1, dim)[0], K
    ways = peers.scans(workloads.item_vectors(n, dim), query, k, dtype == "int8")
    costs = {"items": n, "bytes_": n * dim * WIDTH[dtype], "limit": "copy"}
    run_karec = lambda: index.search(query, k)  # noqa: E731
    compare("scoring: scan", f"N={n:.0e} D={dim} k={k} {dtype}", run_karec, ways, **costs)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_scan_with_a_filter(compare, share):
    n, query = workloads.N_ITEMS, workloads.queries(1)[0]
    index, mask = index_of(n, "float16"), np.random.default_rng(6).random(n) < share
    ways = peers.masked_scans(workloads.item_vectors(n), query, K, mask)
    n_allowed = int(np.count_nonzero(mask))
    run_karec = lambda: index.search(query, K, mask=mask)  # noqa: E731
    size = f"N={n:.0e} D={DIM} k={K} {share:.1%} allowed"
    compare("scoring: filter", size, run_karec, ways, **gather_costs(n_allowed, "float16"))


@pytest.mark.parametrize("n_queries", [8, workloads.N_QUERIES])
def test_scan_of_many_queries(compare, n_queries):
    n, queries = workloads.N_ITEMS, workloads.queries(n_queries)
    index, ways = index_of(n, "float16"), peers.batch_scans(workloads.item_vectors(n), queries, K)
    run_karec = lambda: index.search(queries, K)  # noqa: E731
    pairs = n * n_queries
    size = f"N={n:.0e} D={DIM} {n_queries} queries float16"
    compare("scoring: scan", size, run_karec, ways, items=pairs, flops=2 * DIM * pairs, limit="fma")


def test_search_by_lists(compare):
    """Each side uses the fewest probes that find 95 % of the best 1,000."""
    n, n_queries = workloads.N_LISTED, 20
    vectors, queries = workloads.clustered_vectors(n, n_queries)
    index = ItemIndex.build(np.arange(n), vectors)
    exact = [index.search(query, K).ids for query in queries]
    index.build_lists()

    def search(n_probe):
        return [index.search(query, K, n_probe=n_probe).ids for query in queries]

    recall_of = lambda n_probe: peers.mean_recall(exact, search(n_probe))  # noqa: E731
    n_probe = peers.least_setting(recall_of, index.n_lists, RECALL)
    searches = peers.list_searches(vectors, queries, exact, K, index.n_lists, RECALL)
    ways = {f"{name}, recall {recall:.3f}": method for name, (recall, method) in searches.items()}
    size = f"N={n:.0e} D={DIM} recall {recall_of(n_probe):.3f}, {n_probe} of {index.n_lists} lists"
    compare("scoring: lists", size, lambda: search(n_probe), ways, items=n_queries)


@pytest.mark.parametrize("is_batch", [False, True])
def test_baselines_find_the_best_items(is_batch):
    """Baselines with int8 must find 95 % of the best items, all others 99 %."""
    n, k = 10_000, 100
    vectors, queries = workloads.item_vectors(n), workloads.queries(2)
    exact = np.argsort(-(vectors @ queries[0]), kind="stable")[:k]
    if is_batch:
        ways = peers.batch_scans(vectors, queries, k)
    else:
        ways = peers.scans(vectors, queries[0], k) | peers.scans(vectors, queries[0], k, int8=True)
        ways |= {
            f"{name} by rows": lambda method=method: method(np.arange(n, dtype=np.int32))
            for name, method in peers.row_searches(vectors, queries[0], k).items()
        }
        ways |= peers.masked_scans(vectors, queries[0], k, np.ones(n, bool))
    for name, method in ways.items():
        result = method()
        rows = result[0] if is_batch else result[1] if isinstance(result, tuple) else result
        min_recall = 0.95 if "8" in name.replace("16", "") else 0.99
        assert np.isin(exact, np.asarray(rows).ravel()).mean() >= min_recall, name
