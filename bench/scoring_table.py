"""Scoring beside its peers: one run, one thread, interleaved rounds, medians; prints one table of ratios.

    OMP_NUM_THREADS=1 python bench/scoring_table.py [rounds, 15] [candidates scans threads quality]

Times are the thread's own, so that what else the machine does weighs little; two threads are measured by the
clock. Peers get the same vectors, as many candidates, and the same query. A round runs every contender three
times in a row (a service goes on searching, and the first call pays for page tables that its neighbours
pushed out of the caches), so that whatever else the machine does meets all of them. Each call gets random
candidates of its own: were they the same for all, a peer that reads the vectors where another peer just read
them would find its rows in the cache. Of a peer with settings (bench/peers.py) the quickest counts.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import faiss
import numpy as np
import peers
import workloads
from numba import njit
from numpy.typing import NDArray
from peers import Contender, top_k

from karec.index import ItemIndex

K = workloads.K
IN_A_ROW = 3


@njit(cache=True, nogil=True, fastmath=True)
def numba_scores(vectors: Any, query: Any, rows: Any, out: Any) -> None:
    for i in range(len(rows)):
        total = np.float32(0)
        for d in range(len(query)):
            total += vectors[rows[i], d] * query[d]
        out[i] = total


def medians(
    contenders: dict[str, Contender], ids: NDArray[np.int64], n: int, rounds: int, seed: int = 0
) -> dict[str, float]:
    """{name: median seconds} over interleaved rounds, after one to warm up."""
    rng = np.random.default_rng(seed)
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, contender in contenders.items():
            for _ in range(IN_A_ROW):
                rows = rng.integers(0, len(ids), n).astype(np.int32)
                wanted = ids[rows]
                start = time.thread_time()
                contender(rows, wanted)
                if round_ > 0:
                    spent[name].append(time.thread_time() - start)
    return {name: float(np.median(times)) for name, times in spent.items()}


class Table:
    def __init__(self) -> None:
        print(f"{'':70} {'measured':>10} {'target':>8}")

    def row(self, what: str, value: float, target: str, good: bool, note: str = "") -> None:
        print(f"{what:70} {value:10.4g} {target:>8} {'' if good else '  missed'}  {note}", flush=True)

    def ratio(self, what: str, value: float, least: float, note: str = "") -> None:
        self.row(what, value, f"≥ {least:g}", value >= least, note)


def beside(
    table: Table, what: str, names: tuple[str, ...], mine: float, t: dict[str, float], at: str = ""
) -> None:
    """A row for each peer among ``names``: the quickest of its settings, beside ``mine`` seconds."""
    for peer in names:
        settings = {name: seconds for name, seconds in t.items() if name.startswith(peer)}
        if settings:
            best = min(settings, key=lambda name: settings[name])
            table.ratio(f"{what} vs {best}{at}", settings[best] / mine, 1)


def lived_in(ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> tuple[Any, Any, Any, ItemIndex]:
    """(scale, offset, blocked) of each work, and a float16 index that has them; a twentieth is blocked."""
    scale = np.random.default_rng(5).uniform(0.5, 2, len(ids)).astype(np.float32)
    offset = np.random.default_rng(6).normal(size=len(ids)).astype(np.float32)
    blocked = np.random.default_rng(7).random(len(ids)) < 0.05
    living = ItemIndex.build(ids, vectors)
    living.adjust(ids, scale=scale, offset=offset)
    living.block(ids[blocked])
    return scale, offset, blocked, living


def candidates(table: Table, works: Any, indexes: dict[str, ItemIndex], rounds: int) -> None:
    ids, vectors, query = works
    flat = faiss.IndexFlatIP(workloads.DIM)
    flat.add(vectors)
    order = np.argsort(ids)
    sorted_ids = ids[order]
    scale, offset, blocked, living = lived_in(ids, vectors)

    def of_faiss(rows: NDArray[np.int32], _: Any) -> Any:
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorArray(rows.astype(np.int64)))
        return flat.search(query[None], K, params=chosen)

    def by_idx(rows: NDArray[np.int32], _: Any) -> Any:
        wanted, out = rows.astype(np.int64), np.empty(len(rows), np.float32)
        pointer = faiss.swig_ptr
        faiss.fvec_inner_products_by_idx(
            pointer(out), pointer(query), pointer(vectors), pointer(wanted), workloads.DIM, 1, len(rows)
        )
        return top_k(out)

    def of_numba(rows: NDArray[np.int32], _: Any) -> Any:
        out = np.empty(len(rows), np.float32)
        numba_scores(vectors, query, rows, out)
        return top_k(out)

    def of_numpy_ids(_: Any, wanted: NDArray[np.int64]) -> Any:
        found = order[np.searchsorted(sorted_ids, wanted)]
        found = found[~blocked[found]]
        scores = (vectors[found] @ query) * scale[found] + offset[found]
        return top_k(scores)

    contenders: dict[str, Contender] = {
        "float16": lambda rows, _: indexes["float16"].search(query, rows=rows, k=K),
        "float32": lambda rows, _: indexes["float32"].search(query, rows=rows, k=K),
        "ids": lambda _, wanted: living.search(query, ids=wanted, k=K),
        "numpy": lambda rows, _: top_k(vectors[rows] @ query),
        "faiss": of_faiss,
        "by_idx": by_idx,
        "numba": of_numba,
        "numpy ids": of_numpy_ids,
        **peers.of_candidates(vectors, query),
    }
    targets = {100_000: (5, 3, 2, 1.8, 10), 10_000: (3, 3.5, 1.6, 2.2, 7)}
    for n, least in targets.items():
        t = medians(contenders, ids, n, rounds)
        at, per_row = f", N = {n:.0e}", {name: f"{seconds / n * 1e9:.1f}" for name, seconds in t.items()}
        mine = f"{per_row['float16']} ns a row"
        table.ratio("float16 rows vs NumPy" + at, t["numpy"] / t["float16"], least[0], mine)
        table.ratio("float16 rows vs FAISS IndexFlatIP + selector" + at, t["faiss"] / t["float16"], least[1])
        best = min(t["by_idx"], t["numba"])
        table.ratio("float16 rows vs best of FAISS by_idx, Numba" + at, best / t["float16"], least[2])
        mine = f"{per_row['float32']} ns a row"
        table.ratio(
            "float32 rows vs FAISS IndexFlatIP + selector" + at, t["faiss"] / t["float32"], least[3], mine
        )
        beside(table, "float16 rows", peers.FLOAT, t["float16"], t, at)
        mine = f"{per_row['ids']} ns a row"
        table.ratio("float16 ids + adjust + blocked vs NumPy" + at, t["numpy ids"] / t["ids"], least[4], mine)


def scans(table: Table, works: Any, indexes: dict[str, ItemIndex], rounds: int) -> None:
    _, vectors, query = works
    quantized = faiss.IndexScalarQuantizer(
        workloads.DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    quantized.train(vectors[:100_000])
    quantized.add(vectors)
    t = medians(
        {
            "float32": lambda *_: indexes["float32"].search_all(query, K),
            "float16": lambda *_: indexes["float16"].search_all(query, K),
            "int8": lambda *_: indexes["int8"].search_all(query, K),
            "numpy": lambda *_: top_k(vectors @ query),
            "sq8": lambda *_: quantized.search(query[None], K),
            **peers.of_scan(vectors, query),
        },
        works[0],
        1,
        rounds,
    )
    table.ratio(
        "scan, one query: float32 vs NumPy", t["numpy"] / t["float32"], 1, f"{t['float32'] * 1e3:.1f} ms"
    )
    table.ratio("scan, one query: int8 vs FAISS SQ8", t["sq8"] / t["int8"], 2.3, f"{t['int8'] * 1e3:.1f} ms")
    beside(table, "scan, one query: float16", peers.FLOAT, t["float16"], t)
    beside(table, "scan, one query: int8", peers.INT8, t["int8"], t)
    many_queries(table, works, indexes["float16"])


def many_queries(table: Table, works: Any, index: ItemIndex) -> None:
    ids, vectors, _ = works
    queries = np.random.default_rng(1).standard_normal((workloads.N_QUERIES, workloads.DIM), dtype=np.float32)
    scale, offset, blocked, living = lived_in(ids, vectors)

    def of_numpy_living(*_: Any) -> Any:
        scores = (queries @ vectors.T) * scale + offset
        scores[:, blocked] = -np.inf
        return [top_k(each) for each in scores]

    zeros, same = np.zeros_like(queries), np.repeat(vectors[:1], len(vectors), axis=0)
    alike = ItemIndex.build(ids, same, dtype="float16")
    t = medians(
        {
            "karec": lambda *_: index.search_all(queries, K),
            "living": lambda *_: living.search_all(queries, K),
            "zeros": lambda *_: index.search_all(zeros, K),
            "alike": lambda *_: alike.search_all(queries, K),
            "numpy": lambda *_: [top_k(scores) for scores in queries @ vectors.T],
            "numpy living": of_numpy_living,
            "numpy zeros": lambda *_: [top_k(scores) for scores in zeros @ vectors.T],
            "numpy alike": lambda *_: [top_k(scores) for scores in queries @ same.T],
            **peers.of_many(vectors, queries),
        },
        ids,
        1,
        5,
    )
    least = {"amx": 9, "avx512": 5, "avx2": 2.5}.get(index.isa, 0.8)
    mine = {name: f"{seconds * 1e3:.1f} ms" for name, seconds in t.items()}
    table.ratio(
        "scan, 32 queries: float16 vs NumPy GEMM + top-k", t["numpy"] / t["karec"], least, mine["karec"]
    )
    beside(table, "scan, 32 queries: float16", (*peers.FLOAT, *peers.INT8), t["karec"], t)
    living_ratio = t["numpy living"] / t["living"]
    table.ratio("scan, 32 queries: float16 + adjust + blocked vs NumPy", living_ratio, least, mine["living"])
    table.ratio("scan, 32 queries of zeros, vs NumPy", t["numpy zeros"] / t["zeros"], 1, mine["zeros"])
    table.ratio(
        "scan, 32 queries: one row everywhere, vs NumPy", t["numpy alike"] / t["alike"], 1, mine["alike"]
    )


def two_threads(table: Table, works: Any, index: ItemIndex, rounds: int) -> None:
    query, rows = works[2], workloads.candidates(100_000)

    def run(threads: int) -> float:
        def work() -> None:
            for _ in range(10):
                index.search(query, rows=rows, k=K)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - start

    gains = [2 * run(1) / run(2) for _ in range(rounds)]
    table.ratio("two threads vs one, searches a second", float(np.median(gains)), 1.8)


def quality_and_cost(table: Table, works: Any, indexes: dict[str, ItemIndex]) -> None:
    ids, vectors, query = works
    rows = workloads.candidates(100_000)
    exact = vectors[rows].astype(np.float64) @ query.astype(np.float64)
    best = set(rows[np.argsort(-exact, kind="stable")[:K]].tolist())
    for name, least in (("float16", 0.998), ("int8", 0.975), ("rescored", 0.9999)):
        found = indexes[name].search(query, rows=rows, k=K).rows
        table.ratio(
            f"overlap@{K} with float64, N = 1e+05: {name}", len(best & set(found.tolist())) / K, least
        )
    living = ItemIndex.build(ids, vectors)
    living.adjust(ids, scale=1.5)
    bound = 2 * workloads.DIM + 16 + 8
    share = living.nbytes / len(ids) / bound
    table.row(
        "memory of a row / (row + 16 B + 8 B), float16",
        share,
        "≤ 1.15",
        share <= 1.15,
        f"{share * bound:.0f} B",
    )
    sizes = np.array([1000, 3000, 10_000, 30_000, 100_000])
    each = [
        medians(
            {"search": lambda rows, _: indexes["float16"].search(query, rows=rows, k=100)}, ids, int(n), 15
        )["search"]
        for n in sizes
    ]
    slope, base = np.polyfit(sizes, each, 1, w=1 / np.array(each))
    off = np.abs((base + slope * sizes) / each - 1).max()
    note = f"{base * 1e6:.1f} µs + {slope * 1e9:.1f} ns · N, k = 100"
    table.row("linear fit of cost, N = 1e3 to 1e5: worst deviation", float(off), "≤ 0.25", off <= 0.25, note)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    parts = sys.argv[2:] or ["candidates", "scans", "threads", "quality"]
    faiss.omp_set_num_threads(1)
    works = workloads.works()
    ids, vectors, _ = works
    indexes = {dtype: ItemIndex.build(ids, vectors, dtype) for dtype in ("float16", "float32", "int8")}  # type: ignore[arg-type]
    indexes["rescored"] = ItemIndex.build(ids, vectors, "int8", rescore=True)
    print(
        f"{len(ids):,} works, D = {workloads.DIM}, k = {K}, {indexes['float16'].isa}, FAISS "
        f"{faiss.__version__}"
    )
    table = Table()
    if "candidates" in parts:
        candidates(table, works, indexes, rounds)
    if "scans" in parts:
        scans(table, works, indexes, rounds)
    if "threads" in parts:
        two_threads(table, works, indexes["float16"], 5)
    if "quality" in parts:
        quality_and_cost(table, works, indexes)


if __name__ == "__main__":
    main()
