"""What request.py's other side may do in several ways, with NumPy, FAISS, pyversity and ONNX Runtime.

``quickest`` measures ways against each other before the first request, and says which one serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from pyversity import Strategy, diversify

from karec.bundle import Bundle
from karec.kernels.arguments import RIDGE
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array

try:
    import faiss
except ImportError:  # of the extra [bench]; a smoke of the table does without
    faiss = None

BLOCK = 4096  # rows that are gathered and multiplied before the next ones: 1 MiB of float32 at 64 dimensions


def quickest(what: str, ways: Mapping[str, Callable[[Any], Any]], asked: Sequence[Any]) -> tuple[str, float]:
    """(the way of the least median of processor time, its milliseconds); in turns; prints all."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(3):
        for each in asked:
            for name, way in ways.items():
                begin = time.process_time()
                way(each)
                taken[name] += [time.process_time() - begin] if round_ else []
    ms = {name: float(np.median(times)) * 1e3 for name, times in taken.items()}
    name = min(ms, key=lambda name: ms[name])
    told = ", ".join(f"{way} {each:.2f}" for way, each in sorted(ms.items(), key=lambda each: each[1]))
    print(f"  {what}, ms: {told}", flush=True)
    return name, ms[name]


class Vectors:
    """float32 item vectors by the snapshot's rows, 0 where a work has none, and the ways to search them."""

    def __init__(self, cascade: Cascade, bundle: Bundle) -> None:
        ids = np.asarray(bundle.snapshot.works.ids)
        assert cascade.index is not None
        with cascade.index.pinned() as view:
            found = np.asarray(view.lookup(ids))
            self.present = found >= 0
            self.all = np.zeros((len(ids), view.dim), np.float32)
            self.all[self.present] = view.embeddings(found[self.present].astype(np.int32))
            self.n_lists = view.n_lists or 1

    def scan(self, query: Array, k: int) -> Array:
        scores = self.all @ query
        return np.argpartition(scores, len(scores) - k)[len(scores) - k :]

    def lists(self) -> tuple[Any, Any]:
        """FAISS's IVFFlat and IVF SQ8 of one clustering, with as many lists as the bundle has."""
        dim, inner = self.all.shape[1], faiss.METRIC_INNER_PRODUCT
        centroids = faiss.IndexFlatIP(dim)
        flat = faiss.IndexIVFFlat(centroids, dim, self.n_lists, inner)
        flat.cp.max_points_per_centroid, flat.cp.niter = 64, 8  # as karec
        flat.train(self.all)
        coded = faiss.IndexIVFScalarQuantizer(
            centroids, dim, self.n_lists, faiss.ScalarQuantizer.QT_8bit, inner
        )
        coded.by_residual = False
        coded.train(self.all)
        list_of = centroids.search(self.all, 1)[1]
        for index in (flat, coded):
            index.add_core(len(self.all), faiss.swig_ptr(self.all), None, faiss.swig_ptr(list_of))
        return flat, coded

    def of_rows(self) -> dict[str, Callable[[tuple[Array, Array]], Array]]:
        """The ways to score (rows, query)."""

        def blocks(asked: tuple[Array, Array]) -> Array:
            rows, query = asked
            out = np.empty(len(rows), np.float32)
            for at in range(0, len(rows), BLOCK):
                np.dot(self.all.take(rows[at : at + BLOCK], axis=0), query, out=out[at : at + BLOCK])
            return out

        def by_idx(asked: tuple[Array, Array]) -> Array:
            rows, query = asked
            out, pointer = np.empty(len(rows), np.float32), faiss.swig_ptr
            places = (pointer(out), pointer(query), pointer(self.all), pointer(rows))
            faiss.fvec_inner_products_by_idx(*places, self.all.shape[1], 1, len(rows))
            return out

        ways: dict[str, Callable[[tuple[Array, Array]], Array]] = {
            "NumPy gather": lambda asked: self.all[asked[0]] @ asked[1],
            f"NumPy gather by {BLOCK}": blocks,
        }
        return ways if faiss is None else ways | {"FAISS by_idx": by_idx}


def nearest_ways(
    vectors: Vectors, queries: list[Array], k: int, recall: float
) -> dict[str, Callable[[Array], Array]]:
    """The ways to find the k nearest of all works, lists with a recall of at least ``recall``."""
    ways: dict[str, Callable[[Array], Array]] = {"NumPy flat": lambda query: vectors.scan(query, k)}
    if faiss is None:
        print("  FAISS is not installed (make bench installs it): its ways are left out")
        return ways
    whole = faiss.IndexFlatIP(vectors.all.shape[1])
    whole.add(vectors.all)
    ways["FAISS flat"] = lambda query: whole.search(query[None], k)[1][0]
    if recall == 1:
        return ways
    exact = [vectors.scan(query, k) for query in queries]
    flat, coded = vectors.lists()
    for name, search in {
        "FAISS IVFFlat": partial(of_faiss, flat, k),
        "FAISS IVF SQ8": partial(of_faiss, coded, k),
        "FAISS's lists read by NumPy": ListScan(flat, vectors.all, k),
    }.items():

        def share(n_probe: int, search: Callable[[int, Array], Array] = search) -> float:
            shares = [np.isin(e, search(n_probe, q)).mean() for e, q in zip(exact, queries, strict=True)]
            return float(np.mean(shares))

        low, high = 0, 1
        while high < vectors.n_lists and share(high) < recall:
            low, high = high, min(2 * high, vectors.n_lists)
        while high - low > max(1, high // 50):
            middle = (low + high) // 2
            low, high = (low, middle) if share(middle) >= recall else (middle, high)
        ways[f"{name} ({high:,}, recall {share(high):.3f})"] = partial(search, high)
    return ways


def of_faiss(index: Any, k: int, n_probe: int, query: Array) -> Array:
    index.nprobe = n_probe
    found = index.search(query[None], k)[1][0]
    return np.asarray(found[found >= 0])


class ListScan:
    """The lists of an IVFFlat, each a slice of one matrix: NumPy's products and selection, where FAISS keeps
    a heap."""

    def __init__(self, index: Any, vectors: Array, k: int) -> None:
        self.index, self.k = index, k  # whose quantizer goes with it
        lists = index.invlists
        sizes = [lists.list_size(at) for at in range(index.nlist)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(at), n) for at, n in enumerate(sizes) if n]
        self.rows, self.ends = np.concatenate(parts), np.append(0, np.cumsum(sizes)).tolist()
        self.vectors = vectors[self.rows]

    def __call__(self, n_probe: int, query: Array) -> Array:
        near = np.sort(self.index.quantizer.search(query[None], n_probe)[1][0]).tolist()
        spans = [slice(self.ends[at], self.ends[at + 1]) for at in near]
        scores = np.concatenate([self.vectors[span] @ query for span in spans])
        rows = np.concatenate([self.rows[span] for span in spans])
        if len(rows) <= self.k:
            return np.asarray(rows)
        return np.asarray(rows[np.argpartition(scores, len(rows) - self.k)[len(rows) - self.k :]])


def session_of(model: OnnxModel, inputs: Mapping[str, Array], output: str) -> Callable[[Any], Array]:
    """``model`` with the quickest of ONNX Runtime's settings on one thread."""

    def opened(**settings: Any) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for key in settings.pop("entries", ()):
            options.add_session_config_entry(key, "1")
        for name, value in settings.items():
            setattr(options, name, value)
        return ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])

    made = {
        "defaults": opened(),
        "no arena": opened(enable_cpu_mem_arena=False),
        "no memory pattern": opened(enable_mem_pattern=False),
        "denormals as zero": opened(entries=("session.set_denormal_as_zero",)),
    }

    def run(session: ort.InferenceSession, inputs: Mapping[str, Array]) -> Array:
        return np.asarray(session.run([output], {name: inputs[name] for name in model.inputs})[0])

    ways = {name: partial(run, session) for name, session in made.items()}
    return ways[quickest(f"{model.path.name} in ONNX Runtime", ways, [inputs] * 5)[0]]


def pyversity_dpp(
    vectors: Array, scores: Array, k: int, diversity: float, window: int | None = None
) -> Array:
    """Of pyversity with karec's trade-off: the weight of relevance is (1 − diversity)·scale there, and
    (1 − diversity)/(2·diversity) here. It has neither ridge nor window: after D picks it goes on by what
    rounding left, up to overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = diversify(
            vectors, scores, k, strategy=Strategy.DPP, diversity=diversity, scale=0.5 / diversity
        )
    return np.asarray(found.indices)


def numpy_dpp(vectors: Array, scores: Array, k: int, diversity: float, window: int | None = None) -> Array:
    """karec's definition. With A = ridge·I + Σ f fᵀ over the picks, an item's conditional variance is
    ridge·(1 + fᵀ A⁻¹ f), and each pick changes A⁻¹ by a rank of one: N·D a pick, whatever was picked before.
    With a window the last picks' own small matrix is inverted anew.
    """
    f = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    z = (scores - scores.mean()) / max(float(scores.std()), 1e-12)
    q2 = np.exp((1 - diversity) / diversity * (z - z.max())).astype(np.float32)
    ridge, k = np.float32(RIDGE), min(k, len(f))
    inverse = np.eye(f.shape[1], dtype=np.float32) / ridge
    variance = at_first = np.einsum("ij,ij->i", f, f) + ridge
    picks, gains = np.empty(k, np.int64), np.empty_like(q2)
    for at in range(k):
        np.multiply(q2, variance, out=gains)
        picks[at] = pick = int(gains.argmax())
        q2[pick] = -1.0
        if window is not None:
            near = f[picks[max(at + 2 - window, 0) : at + 1]]
            along = f @ near.T
            variance = at_first - (
                (along @ np.linalg.inv(near @ near.T + ridge * np.eye(len(near)))) * along
            ).sum(axis=1)
            continue
        u = inverse @ f[pick]
        scale = np.float32(1.0 / (1.0 + f[pick] @ u))
        inverse -= np.outer(u * scale, u)
        along = f @ u
        along *= along
        along *= ridge * scale
        variance = np.subtract(variance, along, out=variance if at else None)
    return picks
