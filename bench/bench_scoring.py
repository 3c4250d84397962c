"""Scoring: candidates → inner product → top-k, native beside Numba and plain NumPy.

One thread: run with OMP_NUM_THREADS=1, so that NumPy's products use one as well.
"""

import numpy as np
import pytest
import workloads

from karec.index import ItemIndex
from karec.kernels.scoring import score_top_k


@pytest.fixture(scope="module", params=["float16", "float32"])
def index(request):
    ids, vectors, _ = workloads.works()
    return ItemIndex.build(ids, vectors, dtype=request.param)


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_search_rows(benchmark, index, n):
    benchmark.group = f"search, N={n}"
    query, rows = workloads.works()[2], workloads.candidates(n)
    benchmark(lambda: index.search(query, rows=rows, k=workloads.K))


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_search_ids(benchmark, index, n):
    benchmark.group = f"search, N={n}"
    ids, _, query = workloads.works()
    wanted = ids[workloads.candidates(n)]
    benchmark(lambda: index.search(query, ids=wanted, k=workloads.K))


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_scores(benchmark, index, n):
    benchmark.group = f"scores without top-k, N={n}"
    query, rows = workloads.works()[2], workloads.candidates(n)
    out = np.empty(n, np.float32)
    benchmark(lambda: index.scores(query, rows=rows, out=out))


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_numpy(benchmark, n):
    benchmark.group = f"search, N={n}"
    _, vectors, query = workloads.works()
    rows = workloads.candidates(n)

    def search():
        scores = vectors[rows] @ query
        best = np.argpartition(-scores, workloads.K)[: workloads.K]
        return best[np.argsort(-scores[best], kind="stable")]

    benchmark(search)


@pytest.mark.parametrize("n", workloads.N_CANDIDATES)
def test_numba(benchmark, n):
    benchmark.group = f"search, N={n}"
    _, vectors, query = workloads.works()
    rows = workloads.candidates(n)
    score_top_k(vectors, query, workloads.K, rows)
    benchmark(lambda: score_top_k(vectors, query, workloads.K, rows))


def test_scan_one_query(benchmark, index):
    benchmark.group = f"scan of {workloads.N_WORKS} works, one query"
    query = workloads.works()[2]
    benchmark(lambda: index.search_all(query, workloads.K))


def test_scan_many_queries(benchmark, index):
    benchmark.group = f"scan of {workloads.N_WORKS} works, {workloads.N_QUERIES} queries"
    queries = np.random.default_rng(1).standard_normal((workloads.N_QUERIES, workloads.DIM), dtype=np.float32)
    benchmark.pedantic(lambda: index.search_all(queries, workloads.K), rounds=3, warmup_rounds=1)


def test_lookup(benchmark, index):
    n = max(workloads.N_CANDIDATES)
    benchmark.group = f"lookup of {n} ids"
    wanted = workloads.works()[0][workloads.candidates(n)]
    benchmark(lambda: index.lookup(wanted))


def test_open(benchmark, index, tmp_path):
    benchmark.group = f"open and verify {workloads.N_WORKS} works"
    index.save(tmp_path / "index.karec")
    benchmark.extra_info["bytes"] = (tmp_path / "index.karec").stat().st_size
    benchmark(lambda: ItemIndex.open(tmp_path / "index.karec"))


@pytest.mark.parametrize("part", ["of_candidates", "of_scan", "of_many"])
def test_further_peers_of_the_table_find_the_best(part):
    """What bench/scoring_table.py measures by their settings; int8 finds fewer of the best."""
    pytest.importorskip("faiss", reason="FAISS is of the extra [bench]")
    import peers

    _, vectors, query = workloads.works()
    rows = (
        workloads.candidates(min(workloads.N_CANDIDATES))
        if part == "of_candidates"
        else np.arange(len(vectors))
    )
    contenders = getattr(peers, part)(vectors, np.stack([query, -query]) if part == "of_many" else query)
    best = rows[np.argsort(-(vectors[rows] @ query), kind="stable")[: workloads.K]]
    for name, contender in contenders.items():
        found = contender(rows, rows)
        share = np.isin(best, found[0] if part == "of_many" else found).mean()
        assert share > (0.95 if "int8" in name else 0.99), name
