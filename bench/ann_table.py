"""Searches of a part of the works beside the exact scan and beside peers, each at the least effort that finds
enough.

    OMP_NUM_THREADS=1 python bench/ann_table.py [works, 1_000_000] [--k 1000] [--bundle DIR] [--graphs]
    [--n-probe N]

Recall@k is the mean share of the exact k best that is found, over 100 queries. Of every contender the least
setting whose recall is .95 or more is looked for (n_probe, efSearch, expansion_search), then all are timed at
theirs: interleaved, milliseconds of processor time of one query, median and least. ``--graphs``: HNSW of
FAISS and of usearch too, minutes to build. ``--bundle``: item and user vectors of a published bundle, in
place of vectors that lie as a tower's do. ``--n-probe``: karec alone, at this number of lists, for example
the one that a bundle was published with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import workloads
from numpy.typing import NDArray

from karec.index import ItemIndex

LEAST = 0.95
N_QUERIES = 100
ROUNDS = 3
Found = NDArray[np.int64]


@dataclass
class Contender:
    """``search(query, setting)`` finds ids; ``most`` is the largest setting, None: there is none to look
    for."""

    name: str
    search: Callable[[NDArray[np.float32], int], Any]
    most: int | None = None
    built_s: float = 0.0
    bytes_a_work: float = 0.0
    setting: int = 0
    recall: float = 1.0

    def tune(self, queries: NDArray[np.float32], exact: list[Found], first: int) -> None:
        if self.most is None:
            return
        low, high = first - 1, first
        while high < self.most and self._recall(queries, exact, high) < LEAST:
            low, high = high, min(2 * high, self.most)
        while high - low > max(1, high // 50):
            middle = (low + high) // 2
            low, high = (low, middle) if self._recall(queries, exact, middle) >= LEAST else (middle, high)
        self.set(queries, exact, high)

    def set(self, queries: NDArray[np.float32], exact: list[Found], setting: int) -> None:
        self.setting, self.recall = setting, self._recall(queries, exact, setting)

    def _recall(self, queries: NDArray[np.float32], exact: list[Found], setting: int) -> float:
        shares = [np.isin(e, self.search(q, setting)).mean() for q, e in zip(queries, exact, strict=True)]
        return float(np.mean(shares))


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def of_karec(vectors: NDArray[np.float32], k: int) -> tuple[ItemIndex, list[Contender]]:
    n = len(vectors)
    ids = np.random.default_rng(1).permutation(3 * n)[:n]
    plain, listed = ItemIndex.build(ids, vectors), ItemIndex.build(ids, vectors)
    _, built = seconds(listed.build_lists)

    def apart(query: NDArray[np.float32], n_probe: int) -> Any:
        """The same works in an index whose rows lie in no order: as if lists held the numbers of rows."""
        return plain.search(query, rows=rows_of[n_probe][query.tobytes()], k=k).ids

    rows_of: dict[int, dict[bytes, NDArray[np.int32]]] = {}
    exact = Contender(
        "karec, exact scan", lambda q, _: plain.search_all(q, k).ids, bytes_a_work=plain.nbytes / n
    )
    lists = Contender(
        "karec, lists", lambda q, p: listed.search_all(q, k, n_probe=p).ids, listed.n_lists, built
    )
    lists.bytes_a_work = listed.nbytes / n
    scattered = Contender("karec, the same rows out of order", apart, bytes_a_work=plain.nbytes / n + 4)

    def settle(queries: NDArray[np.float32]) -> None:
        scattered.setting, scattered.recall = lists.setting, lists.recall
        found = (listed.search_all(q, n, n_probe=lists.setting).ids for q in queries)
        rows_of[lists.setting] = {
            q.tobytes(): np.sort(plain.lookup(each)).view(np.ndarray)
            for q, each in zip(queries, found, strict=True)
        }

    scattered.settle = settle  # type: ignore[attr-defined]
    return plain, [exact, lists, scattered]


def of_faiss(vectors: NDArray[np.float32], k: int, n_lists: int, graphs: bool) -> list[Contender]:
    n, dim = vectors.shape
    inner = faiss.METRIC_INNER_PRODUCT
    made = []

    def add(
        name: str, index: Any, search: Callable[[NDArray[np.float32], int], Any], most: int, width: float
    ) -> None:
        def build() -> None:
            index.train(vectors)
            index.add(vectors)

        _, built = seconds(build)
        made.append(Contender(name, search, most, built, width))

    def ivf(index: Any) -> Callable[[NDArray[np.float32], int], Any]:
        index.cp.max_points_per_centroid, index.cp.niter = 64, 8  # as karec

        def search(query: NDArray[np.float32], n_probe: int) -> Any:
            index.nprobe = n_probe
            return index.search(query[None], k)[1][0]

        return search

    quantizers = [faiss.IndexFlatIP(dim) for _ in range(2)]
    flat = faiss.IndexIVFFlat(quantizers[0], dim, n_lists, inner)
    add("FAISS IVFFlat, float32", flat, ivf(flat), n_lists, 4 * dim + 8)
    half = faiss.IndexIVFScalarQuantizer(quantizers[1], dim, n_lists, faiss.ScalarQuantizer.QT_fp16, inner)
    half.by_residual = False
    add("FAISS IVF, float16", half, ivf(half), n_lists, 2 * dim + 8)
    if graphs:
        graph = faiss.IndexHNSWFlat(dim, 32, inner)

        def search(query: NDArray[np.float32], ef: int) -> Any:
            graph.hnsw.efSearch = ef
            return graph.search(query[None], k)[1][0]

        add("FAISS HNSW, M 32, float32", graph, search, n, 4 * dim + 2 * 32 * 4)
    return made


def of_usearch(vectors: NDArray[np.float32], k: int) -> Contender:
    from usearch.index import Index

    n, dim = vectors.shape
    index = Index(ndim=dim, metric="ip", dtype="f16", connectivity=32)
    _, built = seconds(lambda: index.add(np.arange(n), vectors, threads=1))

    def search(query: NDArray[np.float32], expansion: int) -> Any:
        index.expansion_search = expansion
        return index.search(query, k, threads=1).keys.astype(np.int64)

    return Contender("usearch, M 32, float16", search, n, built, index.memory_usage / n)


def timed(contenders: list[Contender], queries: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    spent: dict[str, list[float]] = {each.name: [] for each in contenders}
    for round_ in range(ROUNDS):
        for query in queries:
            for each in contenders:
                _, cost = seconds(lambda e=each, q=query: e.search(q, e.setting))
                spent[each.name] += [cost] if round_ else []
    return {name: np.array(costs) * 1e3 for name, costs in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("works", nargs="?", type=float, default=workloads.N_WORKS)
    parser.add_argument("--k", type=int, default=workloads.K)
    parser.add_argument("--bundle")
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--n-probe", type=int)
    asked = parser.parse_args()
    faiss.omp_set_num_threads(1)
    vectors, queries = workloads.tower_like(int(asked.works), N_QUERIES)
    if asked.bundle:
        vectors, queries = of_bundle(asked.bundle)
    plain, contenders = of_karec(vectors, asked.k)
    works = {int(i): row for row, i in enumerate(plain.ids.tolist())}
    best = [plain.search_all(q, asked.k).ids for q in queries]
    if asked.n_probe:
        contenders[1].set(queries, best, asked.n_probe)
    else:
        contenders[1].tune(queries, best, 1)
    contenders[2].settle(queries)  # type: ignore[attr-defined]
    at = [np.array([works[i] for i in ids.tolist()]) for ids in best]  # peers call a work by its place
    peers = [] if asked.n_probe else of_faiss(vectors, asked.k, contenders[1].most or 1, asked.graphs)
    peers += [of_usearch(vectors, asked.k)] if asked.graphs else []
    for each in peers:
        each.tune(queries, at, asked.k if "M 32" in each.name else 1)
    contenders += peers
    costs = timed(contenders, queries)
    print(
        f"{len(vectors):,} works of {vectors.shape[1]} dimensions, k = {asked.k:,}, {plain.isa}, one thread"
    )
    print(f"{'':36} {'setting':>9} {'recall':>7} {'ms':>8} {'least':>8} {'built, s':>9} {'B a work':>9}")
    for each in contenders:
        ms = costs[each.name]
        setting = f"{each.setting:,}" if each.setting else "–"
        print(
            f"{each.name:36} {setting:>9} {each.recall:7.3f} {np.median(ms):8.3f} {ms.min():8.3f} "
            f"{each.built_s:9.1f} "
            f"{each.bytes_a_work:9.0f}"
        )


def of_bundle(root: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    from karec.bundle import Bundle
    from karec.refresh.lists import user_vectors

    bundle = Bundle.open(root)
    with bundle.index.pinned() as view:
        vectors = view.embeddings(np.flatnonzero(view.present).astype(np.int32))
    return vectors, user_vectors(bundle.snapshot, bundle.encoder, bundle.user_tower, N_QUERIES)


if __name__ == "__main__":
    main()
