"""Baselines of scoring.py from NumPy, FAISS, usearch, NumKong, Numba and torch, each at its best settings.

The extra `bench` installs FAISS, usearch and NumKong; a missing package is skipped. These baselines are
slower and therefore omitted: usearch's exact search, Panorama with 2 and more levels, NumKong's `dot` on a
whole matrix. usearch's Python package takes no predicate.
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
RowSearch = Callable[[Rows], object]
Scan = Callable[[], object]


@cache
def package(name: str) -> Any:
    try:
        module = import_module(name)
    except ImportError:
        return None
    if name == "faiss":
        module.omp_set_num_threads(1)
    elif name == "torch":
        module.set_num_threads(1)
    return module


def top_k(scores: NDArray[Any], k: int) -> Ints:
    best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best], kind="stable")]


def sampled_top_k(scores: NDArray[Any], k: int) -> Ints:
    """Returns `top_k` of the scores above a threshold from a sample: ten times faster for 1e6 scores."""
    sample = scores[:: max(len(scores) // SAMPLE, 1)]
    near = int(1.3 * k * len(sample) / len(scores)) + 30
    if near >= len(sample):
        return top_k(scores, k)
    above = np.flatnonzero(scores >= np.partition(sample, len(sample) - near)[len(sample) - near])
    return above[top_k(scores[above], k)] if len(above) >= k else top_k(scores, k)


def as_int8(vectors: Floats) -> NDArray[np.int8]:
    return np.round(vectors * (127 / np.abs(vectors).max())).astype(np.int8)


def row_searches(vectors: Floats, query: Floats, k: int) -> dict[str, RowSearch]:
    """Returns searches of the best k of given rows."""
    half, half_query = vectors.astype(np.float16), query.astype(np.float16)

    def by_blocks(rows: Rows) -> object:
        scores = np.empty(len(rows), np.float32)
        for i in range(0, len(rows), BLOCK):
            np.dot(vectors.take(rows[i : i + BLOCK], axis=0), query, out=scores[i : i + BLOCK])
        return rows[sampled_top_k(scores, k)]

    methods: dict[str, RowSearch] = {
        "NumPy in blocks": by_blocks,
        "Numba, karec.kernels": lambda rows: score_top_k(vectors, query, k, rows),
        "Numba, float16": lambda rows: score_top_k(half, query, k, rows),
    }
    if faiss := package("faiss"):
        pointer = faiss.swig_ptr
        panorama = faiss.IndexFlatIPPanorama(vectors.shape[1], 1, 1)
        panorama.add(vectors)

        def by_idx(rows: Rows) -> object:
            rows64, scores = rows.astype(np.int64), np.empty(len(rows), np.float32)
            arrays = pointer(scores), pointer(query), pointer(vectors), pointer(rows64)
            faiss.fvec_inner_products_by_idx(*arrays, vectors.shape[1], 1, len(rows))
            return rows[sampled_top_k(scores, k)]

        def subset(rows: Rows) -> object:
            rows64, n_best = rows.astype(np.int64), min(k, len(rows))
            scores, best = np.empty((1, n_best), np.float32), np.empty((1, n_best), np.int64)
            arrays = pointer(rows64), n_best, pointer(scores), pointer(best)
            panorama.search_subset(1, pointer(query), len(rows64), *arrays)
            return best

        methods |= {"FAISS by_idx": by_idx, "FAISS search_subset": subset}
    if nk := package("numkong"):
        methods["NumKong float16"] = lambda rows: rows[
            sampled_top_k(np.asarray(nk.dot(half_query[None], half[rows])).ravel(), k)
        ]
    if torch := package("torch"):
        items, user = (torch.from_numpy(array).to(torch.bfloat16) for array in (vectors, query))

        def torch_rows(rows: Rows) -> object:
            scores = items[torch.from_numpy(rows)] @ user
            return rows[scores.topk(min(k, len(rows))).indices.numpy()]

        methods["torch bf16"] = torch_rows
    return methods


def scans(vectors: Floats, query: Floats, k: int, int8: bool = False) -> dict[str, Scan]:
    """Returns searches of the best k of all rows for one query. `int8`: with int8 vectors, else without."""
    faiss, queries = package("faiss"), query[None]
    methods: dict[str, Scan] = {
        name: lambda scores=scores: sampled_top_k(scores().ravel(), k)
        for name, scores in _numkong(vectors, queries, int8).items()
    }
    if not int8:
        methods["NumPy"] = lambda: sampled_top_k(vectors @ query, k)
        if faiss:
            panorama = faiss.IndexFlatIPPanorama(vectors.shape[1], 1, max(k, 1024))
            panorama.add(vectors)
            methods["FAISS Panorama"] = lambda: panorama.search(queries, k)
        if torch := package("torch"):
            items, user = (torch.from_numpy(array).to(torch.bfloat16) for array in (vectors, query))

            def torch_scan() -> object:
                return (items @ user).topk(k).indices.numpy()

            methods["torch bf16"] = torch_scan
    if faiss:
        name, coded = ("FAISS SQ8", "QT_8bit") if int8 else ("FAISS SQfp16", "QT_fp16")
        kind = getattr(faiss.ScalarQuantizer, coded)
        quantized = faiss.IndexScalarQuantizer(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
        quantized.train(vectors[:100_000])
        quantized.add(vectors)
        methods[name] = lambda: quantized.search(queries, k)
    return methods


def masked_scans(vectors: Floats, query: Floats, k: int, mask: NDArray[np.bool_]) -> dict[str, Scan]:
    """Returns searches of the best k rows where `mask` is true. Each has the mask in its best form."""
    rows, queries = np.flatnonzero(mask).astype(np.int32), query[None]
    methods: dict[str, Scan] = {
        f"{name}, by rows": lambda search=search: search(rows)
        for name, search in row_searches(vectors, query, k).items()
    }
    methods["NumPy, all rows"] = lambda: sampled_top_k(np.where(mask, vectors @ query, -np.inf), k)
    if faiss := package("faiss"):
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        bitmap = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        parameters = faiss.SearchParameters(sel=bitmap)
        methods["FAISS IDSelectorBitmap"] = lambda: flat.search(queries, k, params=parameters)
    return methods


def batch_scans(vectors: Floats, queries: Floats, k: int) -> dict[str, Scan]:
    """Returns searches of the best k of all rows for each query."""
    methods: dict[str, Scan] = {
        name: lambda scores=scores: [sampled_top_k(row, k) for row in scores()]
        for name, scores in _numkong(vectors, queries, False).items()
    }
    return {"NumPy GEMM": lambda: [sampled_top_k(row, k) for row in queries @ vectors.T]} | methods


def _numkong(vectors: Floats, queries: Floats, int8: bool) -> dict[str, Callable[[], NDArray[Any]]]:
    """Returns functions that score (queries, rows) by packed matrices."""
    nk = package("numkong")
    if nk is None:
        return {}

    def scores(rows: Any, batch: Any) -> Callable[[], NDArray[Any]]:
        packed = nk.dots_pack(rows)
        return lambda: np.asarray(nk.dots_packed(batch, packed))

    if int8:
        return {"NumKong int8": scores(as_int8(vectors), as_int8(queries))}
    tensors = [nk.astype(nk.Tensor(np.ascontiguousarray(array)), "bf16") for array in (vectors, queries)]
    halves = [array.astype(np.float16) for array in (vectors, queries)]
    return {"NumKong bf16": scores(*tensors), "NumKong float16": scores(*halves)}


def list_searches(
    vectors: Floats, queries: Floats, exact: list[Ints], k: int, n_lists: int, recall: float
) -> dict[str, tuple[float, Scan]]:
    """Returns {name: (recall, search of all queries)} of FAISS's lists, with the fewest probes for
    `recall`."""
    faiss = package("faiss")
    if faiss is None:
        return {}
    dim, inner = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    quantizers = [faiss.IndexFlatIP(dim) for _ in range(2)]
    half = faiss.IndexIVFScalarQuantizer(quantizers[1], dim, n_lists, faiss.ScalarQuantizer.QT_fp16, inner)
    half.by_residual = False
    searches = {}
    for name, index in {
        "FAISS IVFFlat": faiss.IndexIVFFlat(quantizers[0], dim, n_lists, inner),
        "FAISS IVF float16": half,
    }.items():
        index.cp.max_points_per_centroid, index.cp.niter = 64, 8  # as karec's lists
        index.train(vectors)
        index.add(vectors)

        # The default argument keeps the quantizers alive: FAISS stores pointers only.
        def search(index: Any = index, _quantizers: Any = quantizers) -> list[Ints]:
            return [index.search(query[None], k)[1][0] for query in queries]

        def recall_of(n_probe: int, index: Any = index, search: Any = search) -> float:
            index.nprobe = n_probe
            return mean_recall(exact, search())

        searches[name] = (recall_of(least_setting(recall_of, n_lists, recall)), search)
    return searches


def mean_recall(exact: list[Ints], approximate: list[Ints]) -> float:
    pairs = zip(exact, approximate, strict=True)
    return float(np.mean([np.isin(best, rows).mean() for best, rows in pairs]))


def least_setting(recall_of: Callable[[int], float], max_setting: int, recall: float) -> int:
    """Returns the smallest setting, within 2 %, that reaches the recall."""
    low, high = 0, 1
    while high < max_setting and recall_of(high) < recall:
        low, high = high, min(2 * high, max_setting)
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if recall_of(middle) >= recall else (middle, high)
    return high
