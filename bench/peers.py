"""Peers of scoring_table.py that take settings: FAISS's search_subset and Panorama, usearch's exact search,
NumKong.

Each function gives contenders by name, which return rows; settings of one peer begin alike, and the table
shows the quickest. A package that is missing is left out, and a line says so. Tried and slower, so not in the
table: usearch on float32 and int8; Panorama with 8 levels and more (its blocks must hold k vectors);
NumKong's ``dot`` and ``cdist`` on whole matrices, where ``dots_packed`` takes half of the time; FAISS's
selectors by hash and by bitmap.

search_subset   is Panorama's alone in FAISS 1.15, with blocks of one vector; IndexFlatIP refuses it.
usearch         has no search by row: it gets the rows gathered.
NumKong         gives scores, of float16, bfloat16 or int8; the best k of them by ``sampled_top_k``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import faiss
import numpy as np
import workloads
from numpy.typing import NDArray

K = workloads.K
SAMPLE = 8192
BLOCK = 4096  # gathered rows that lie in the second cache until they are multiplied
FLOAT, INT8 = (
    ("FAISS search_subset", "FAISS Panorama", "usearch exact", "NumKong float", "NumPy"),
    ("NumKong int8",),
)
Contender = Callable[[NDArray[np.int32], NDArray[np.int64]], Any]  # by row, and the same by id
Vectors = NDArray[np.float32]


def top_k(scores: NDArray[np.float32], k: int = K) -> NDArray[np.int64]:
    best = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best], kind="stable")]


def sampled_top_k(scores: NDArray[Any], k: int = K) -> NDArray[np.int64]:
    """``top_k`` of those above a threshold that a sample gives: of 1e6 scores in a tenth of the time."""
    sample = scores[:: max(len(scores) // SAMPLE, 1)]
    near = int(1.3 * k * len(sample) / len(scores)) + 30
    if near >= len(sample):
        return top_k(scores, k)
    above = np.flatnonzero(scores >= np.partition(sample, len(sample) - near)[len(sample) - near])
    return above[top_k(scores[above], k)] if len(above) >= k else top_k(scores, k)


@cache
def package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        print(f"{name} is not installed (pip install 'karec[bench]'): its rows are left out")
        return None


def as_int8(rows: Vectors) -> NDArray[np.int8]:
    """By one scale a matrix."""
    return np.round(rows * (127 / np.abs(rows).max())).astype(np.int8)


def of_candidates(vectors: Vectors, query: Vectors) -> dict[str, Contender]:
    """The best k of the rows that are given."""

    def by_blocks(rows: NDArray[np.int32], _: Any) -> Any:
        scores = np.empty(len(rows), np.float32)
        for at in range(0, len(rows), BLOCK):
            np.dot(vectors.take(rows[at : at + BLOCK], axis=0), query, out=scores[at : at + BLOCK])
        return rows[sampled_top_k(scores)]

    made: dict[str, Contender] = {f"NumPy by {BLOCK} rows, sampled top-k": by_blocks}
    half, half_query = vectors.astype(np.float16), query.astype(np.float16)
    for levels in (1, 2, 4):
        index = faiss.IndexFlatIPPanorama(workloads.DIM, levels, 1)
        index.add(vectors)
        made[f"FAISS search_subset, levels = {levels}"] = _subset(index, query)
    if usearch := package("usearch.index"):
        made["usearch exact, float16"] = lambda rows, _: rows[_usearch(usearch, half[rows], half_query)]
    if nk := package("numkong"):
        made["NumKong float16"] = lambda rows, _: rows[
            sampled_top_k(np.asarray(nk.dot(half_query[None], half[rows])))
        ]
    return made


def of_scan(vectors: Vectors, query: Vectors) -> dict[str, Contender]:
    """The best k of all rows, for one query."""
    half, half_query = vectors.astype(np.float16), query.astype(np.float16)
    made: dict[str, Contender] = {"NumPy, sampled top-k": lambda *_: sampled_top_k(vectors @ query)}
    for levels in (1, 2, 4):
        made[f"FAISS Panorama, levels = {levels}"] = _panorama(vectors, query[None], levels)
    if usearch := package("usearch.index"):
        made["usearch exact, float16"] = lambda *_: _usearch(usearch, half, half_query)
    for name, scores in _numkong(vectors, query[None]).items():
        made[name] = lambda *_, scores=scores: sampled_top_k(scores().ravel())  # type: ignore[misc]
    return made


def of_many(vectors: Vectors, queries: Vectors) -> dict[str, Contender]:
    """The best k of all rows for each query."""
    half, half_queries = vectors.astype(np.float16), queries.astype(np.float16)
    made: dict[str, Contender] = {
        "NumPy, sampled top-k": lambda *_: [sampled_top_k(scores) for scores in queries @ vectors.T],
        "FAISS Panorama, levels = 2": _panorama(vectors, queries, 2),
    }
    if usearch := package("usearch.index"):
        made["usearch exact, float16"] = lambda *_: _usearch(usearch, half, half_queries)
    for name, scores in _numkong(vectors, queries).items():
        made[name] = lambda *_, scores=scores: [sampled_top_k(each) for each in scores()]  # type: ignore[misc]
    return made


def _subset(index: Any, query: Vectors) -> Contender:
    pointer = faiss.swig_ptr
    scores, found = np.empty((1, K), np.float32), np.empty((1, K), np.int64)

    def search(rows: NDArray[np.int32], _: Any) -> Any:
        wanted = rows.astype(np.int64)
        places = (len(wanted), pointer(wanted), K, pointer(scores), pointer(found))
        index.search_subset(1, pointer(query), *places)
        return found[0]

    return search


def _panorama(vectors: Vectors, queries: Vectors, levels: int) -> Contender:
    index = faiss.IndexFlatIPPanorama(workloads.DIM, levels, max(K, 1024))
    index.add(vectors)
    return lambda *_: index.search(queries, K)[1].squeeze()


def _usearch(usearch: Any, vectors: NDArray[Any], queries: NDArray[Any]) -> Any:
    return usearch.search(vectors, queries, K, usearch.MetricKind.IP, exact=True, threads=1).keys.astype(
        np.int64
    )


def _numkong(vectors: Vectors, queries: Vectors) -> dict[str, Callable[[], NDArray[Any]]]:
    """Scores (queries, rows) by packed matrices; a float name for what rounds less than int8."""
    nk = package("numkong")
    if nk is None:
        return {}

    def scores(rows: Any, of: Any) -> Callable[[], NDArray[Any]]:
        packed = nk.dots_pack(rows)
        return lambda: np.asarray(nk.dots_packed(of, packed))

    tensors = [nk.astype(nk.Tensor(np.ascontiguousarray(each)), "bf16") for each in (vectors, queries)]
    return {
        "NumKong float16": scores(vectors.astype(np.float16), queries.astype(np.float16)),
        "NumKong float, bf16": scores(*tensors),
        "NumKong int8": scores(as_int8(vectors), as_int8(queries)),
    }
