"""Baselines of scoring.py from NumPy, FAISS, usearch, NumKong and Numba, each at its best settings.

The extra `bench` installs FAISS, usearch and NumKong; a missing package is skipped. These baselines are
slower and therefore omitted: FAISS IndexFlatIP with IDSelector, usearch's exact search, Panorama with 2 and
more levels, NumKong's `dot` on a whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workloads import Floats, Ints

from karec.kernels.scoring import score_top_k

SAMPLE = 8192
BLOCK = 4096  # gathered rows; a block stays in the second-level cache until it is multiplied
Rows = NDArray[np.int32]
ByRows = Callable[[Rows], object]
Scan = Callable[[], object]


@cache
def package(name: str) -> Any:
    try:
        module = import_module(name)
    except ImportError:
        return None
    if name == "faiss":
        module.omp_set_num_threads(1)
    return module


def top_k(scores: NDArray[Any], k: int) -> Ints:
    best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best], kind="stable")]


def sampled_top_k(scores: NDArray[Any], k: int) -> Ints:
    """`top_k` of the scores above a threshold from a sample: ten times faster for 1e6 scores."""
    sample = scores[:: max(len(scores) // SAMPLE, 1)]
    near = int(1.3 * k * len(sample) / len(scores)) + 30
    if near >= len(sample):
        return top_k(scores, k)
    above = np.flatnonzero(scores >= np.partition(sample, len(sample) - near)[len(sample) - near])
    return above[top_k(scores[above], k)] if len(above) >= k else top_k(scores, k)


def as_int8(vectors: Floats) -> NDArray[np.int8]:
    return np.round(vectors * (127 / np.abs(vectors).max())).astype(np.int8)


def of_rows(vectors: Floats, query: Floats, k: int) -> dict[str, ByRows]:
    """The best k of the given rows."""
    half, half_query = vectors.astype(np.float16), query.astype(np.float16)

    def by_blocks(rows: Rows) -> object:
        scores = np.empty(len(rows), np.float32)
        for at in range(0, len(rows), BLOCK):
            np.dot(vectors.take(rows[at : at + BLOCK], axis=0), query, out=scores[at : at + BLOCK])
        return rows[sampled_top_k(scores, k)]

    ways: dict[str, ByRows] = {
        "NumPy in blocks": by_blocks,
        "Numba, karec.kernels": lambda rows: score_top_k(vectors, query, k, rows),
        "Numba, float16": lambda rows: score_top_k(half, query, k, rows),
    }
    if faiss := package("faiss"):
        pointer = faiss.swig_ptr
        panorama = faiss.IndexFlatIPPanorama(vectors.shape[1], 1, 1)
        panorama.add(vectors)

        def by_idx(rows: Rows) -> object:
            wanted, scores = rows.astype(np.int64), np.empty(len(rows), np.float32)
            arrays = pointer(scores), pointer(query), pointer(vectors), pointer(wanted)
            faiss.fvec_inner_products_by_idx(*arrays, vectors.shape[1], 1, len(rows))
            return rows[sampled_top_k(scores, k)]

        def subset(rows: Rows) -> object:
            wanted, most = rows.astype(np.int64), min(k, len(rows))
            scores, found = np.empty((1, most), np.float32), np.empty((1, most), np.int64)
            arrays = pointer(wanted), most, pointer(scores), pointer(found)
            panorama.search_subset(1, pointer(query), len(wanted), *arrays)
            return found

        ways |= {"FAISS by_idx": by_idx, "FAISS search_subset": subset}
    if nk := package("numkong"):
        ways["NumKong float16"] = lambda rows: rows[
            sampled_top_k(np.asarray(nk.dot(half_query[None], half[rows])).ravel(), k)
        ]
    return ways


def of_scan(vectors: Floats, query: Floats, k: int, int8: bool = False) -> dict[str, Scan]:
    """Returns searches of the best k of all rows for one query. `int8`: with int8 vectors, else without."""
    faiss, queries = package("faiss"), query[None]
    ways: dict[str, Scan] = {
        name: lambda scores=scores: sampled_top_k(scores().ravel(), k)
        for name, scores in _numkong(vectors, queries, int8).items()
    }
    if not int8:
        ways["NumPy"] = lambda: sampled_top_k(vectors @ query, k)
        if faiss:
            panorama = faiss.IndexFlatIPPanorama(vectors.shape[1], 1, max(k, 1024))
            panorama.add(vectors)
            ways["FAISS Panorama"] = lambda: panorama.search(queries, k)
    elif faiss:
        coded = faiss.ScalarQuantizer.QT_8bit
        quantized = faiss.IndexScalarQuantizer(vectors.shape[1], coded, faiss.METRIC_INNER_PRODUCT)
        quantized.train(vectors[:100_000])
        quantized.add(vectors)
        ways["FAISS SQ8"] = lambda: quantized.search(queries, k)
    return ways


def of_many(vectors: Floats, queries: Floats, k: int) -> dict[str, Scan]:
    """The best k of all rows for each query."""
    ways: dict[str, Scan] = {
        name: lambda scores=scores: [sampled_top_k(each, k) for each in scores()]
        for name, scores in _numkong(vectors, queries, False).items()
    }
    return {"NumPy GEMM": lambda: [sampled_top_k(each, k) for each in queries @ vectors.T]} | ways


def _numkong(vectors: Floats, queries: Floats, int8: bool) -> dict[str, Callable[[], NDArray[Any]]]:
    """Scores (queries, rows) by packed matrices."""
    nk = package("numkong")
    if nk is None:
        return {}

    def scores(rows: Any, of: Any) -> Callable[[], NDArray[Any]]:
        packed = nk.dots_pack(rows)
        return lambda: np.asarray(nk.dots_packed(of, packed))

    if int8:
        return {"NumKong int8": scores(as_int8(vectors), as_int8(queries))}
    tensors = [nk.astype(nk.Tensor(np.ascontiguousarray(each)), "bf16") for each in (vectors, queries)]
    halves = [each.astype(np.float16) for each in (vectors, queries)]
    return {"NumKong bf16": scores(*tensors), "NumKong float16": scores(*halves)}


def of_lists(
    vectors: Floats, queries: Floats, exact: list[Ints], k: int, n_lists: int, recall: float
) -> dict[str, tuple[float, Scan]]:
    """{name: (recall, search of all queries)} of FAISS's lists, with the fewest probes for `recall`."""
    faiss = package("faiss")
    if faiss is None:
        return {}
    dim, inner = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    quantizers = [faiss.IndexFlatIP(dim) for _ in range(2)]
    half = faiss.IndexIVFScalarQuantizer(quantizers[1], dim, n_lists, faiss.ScalarQuantizer.QT_fp16, inner)
    half.by_residual = False
    made = {}
    for name, index in {
        "FAISS IVFFlat": faiss.IndexIVFFlat(quantizers[0], dim, n_lists, inner),
        "FAISS IVF float16": half,
    }.items():
        index.cp.max_points_per_centroid, index.cp.niter = 64, 8  # as karec's lists
        index.train(vectors)
        index.add(vectors)

        def search(index: Any = index, _kept: Any = quantizers) -> list[Ints]:  # FAISS keeps pointers only
            return [index.search(query[None], k)[1][0] for query in queries]

        def found(n_probe: int, index: Any = index, search: Any = search) -> float:
            index.nprobe = n_probe
            return mean_recall(exact, search())

        made[name] = (found(least_setting(found, n_lists, recall)), search)
    return made


def mean_recall(exact: list[Ints], found: list[Ints]) -> float:
    return float(np.mean([np.isin(best, some).mean() for best, some in zip(exact, found, strict=True)]))


def least_setting(recall_of: Callable[[int], float], most: int, recall: float) -> int:
    """The smallest setting, within 2 %, that reaches the recall."""
    low, high = 0, 1
    while high < most and recall_of(high) < recall:
        low, high = high, min(2 * high, most)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if recall_of(middle) >= recall else (middle, high)
    return high
