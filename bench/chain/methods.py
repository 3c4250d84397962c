"""Alternative methods of the chain's steps, with NumPy, FAISS, pyversity and ONNX Runtime.

``fastest`` measures methods before the first request, and prints which one serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from peers import least_setting, mean_recall
from pyversity import Strategy, diversify

from karec.bundle import Bundle
from karec.kernels.arguments import RIDGE
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array

try:
    import faiss
except ImportError:  # FAISS is in the group `bench`; the smoke test of the benchmarks runs without it
    faiss = None

BLOCK = 4096  # rows that are gathered and multiplied at once: 1 MiB of float32 at 64 dimensions


def fastest(
    title: str, methods: Mapping[str, Callable[[Any], Any]], inputs: Sequence[Any]
) -> tuple[str, float]:
    """Returns (method with the least median processor time, its milliseconds), and prints all of them.

    The methods take turns; the first of three rounds does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for round_number in range(3):
        for value in inputs:
            for name, method in methods.items():
                begin = time.process_time()
                method(value)
                seconds[name] += [time.process_time() - begin] if round_number else []
    ms = {name: float(np.median(times)) * 1e3 for name, times in seconds.items()}
    names = sorted(ms, key=lambda name: ms[name])
    print(f"  {title}, ms: {', '.join(f'{name} {ms[name]:.2f}' for name in names)}", flush=True)
    return names[0], ms[names[0]]


class Vectors:
    """float32 item vectors by the snapshot's rows (0 if missing), and methods to search them."""

    def __init__(self, cascade: Cascade, bundle: Bundle) -> None:
        ids = np.asarray(bundle.snapshot.works.ids)
        assert cascade.index is not None
        with cascade.index.pinned() as view:
            rows = np.asarray(view.lookup(ids))
            self.present = rows >= 0
            self.all = np.zeros((len(ids), view.dim), np.float32)
            self.all[self.present] = view.embeddings(rows[self.present].astype(np.int32))
            self.n_lists = view.n_lists or 1

    def scan(self, query: Array, k: int) -> Array:
        scores = self.all @ query
        return np.argpartition(scores, len(scores) - k)[len(scores) - k :]

    def lists(self) -> tuple[Any, Any]:
        """Returns FAISS's IVFFlat and IVF SQ8 of one clustering, with as many lists as the bundle has."""
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

    def score_methods(self) -> dict[str, Callable[[tuple[Array, Array]], Array]]:
        """Returns methods that score (rows, query)."""

        def blocks(rows_and_query: tuple[Array, Array]) -> Array:
            rows, query = rows_and_query
            out = np.empty(len(rows), np.float32)
            for i in range(0, len(rows), BLOCK):
                np.dot(self.all.take(rows[i : i + BLOCK], axis=0), query, out=out[i : i + BLOCK])
            return out

        def by_idx(rows_and_query: tuple[Array, Array]) -> Array:
            rows, query = rows_and_query
            out, pointer = np.empty(len(rows), np.float32), faiss.swig_ptr
            places = (pointer(out), pointer(query), pointer(self.all), pointer(rows))
            faiss.fvec_inner_products_by_idx(*places, self.all.shape[1], 1, len(rows))
            return out

        methods: dict[str, Callable[[tuple[Array, Array]], Array]] = {
            "NumPy gather": lambda rows_and_query: self.all[rows_and_query[0]] @ rows_and_query[1],
            f"NumPy gather by {BLOCK}": blocks,
        }
        return methods if faiss is None else methods | {"FAISS by_idx": by_idx}


def nearest_methods(
    vectors: Vectors, queries: list[Array], k: int, recall: float
) -> dict[str, Callable[[Array], Array]]:
    """Returns methods that find the k nearest of all items; those with lists have at least ``recall``."""
    methods: dict[str, Callable[[Array], Array]] = {"NumPy flat": lambda query: vectors.scan(query, k)}
    if faiss is None:
        print("  FAISS is not installed (make bench installs it): its methods are left out")
        return methods
    whole = faiss.IndexFlatIP(vectors.all.shape[1])
    whole.add(vectors.all)
    methods["FAISS flat"] = lambda query: whole.search(query[None], k)[1][0]
    if recall == 1:
        return methods
    exact = [vectors.scan(query, k) for query in queries]
    flat, coded = vectors.lists()
    for name, search in {
        "FAISS IVFFlat": partial(search_faiss, flat, k),
        "FAISS IVF SQ8": partial(search_faiss, coded, k),
        "FAISS's lists read by NumPy": ListScan(flat, vectors.all, k),
    }.items():

        def recall_of(n_probe: int, search: Callable[[int, Array], Array] = search) -> float:
            return mean_recall(exact, [search(n_probe, query) for query in queries])

        n_probe = least_setting(recall_of, vectors.n_lists, recall)
        methods[f"{name} ({n_probe:,}, recall {recall_of(n_probe):.3f})"] = partial(search, n_probe)
    return methods


def search_faiss(index: Any, k: int, n_probe: int, query: Array) -> Array:
    index.nprobe = n_probe
    rows = index.search(query[None], k)[1][0]
    return np.asarray(rows[rows >= 0])


class ListScan:
    """Searches the lists of an IVFFlat as slices of one matrix: NumPy's products and selection, no heap."""

    def __init__(self, index: Any, vectors: Array, k: int) -> None:
        self.index = index  # owns the quantizer
        self.k = k
        lists = index.invlists
        sizes = [lists.list_size(i) for i in range(index.nlist)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(i), n) for i, n in enumerate(sizes) if n]
        self.rows = np.concatenate(parts)
        self.ends = np.append(0, np.cumsum(sizes)).tolist()
        self.vectors = vectors[self.rows]

    def __call__(self, n_probe: int, query: Array) -> Array:
        near = np.sort(self.index.quantizer.search(query[None], n_probe)[1][0]).tolist()
        spans = [slice(self.ends[i], self.ends[i + 1]) for i in near]
        scores = np.concatenate([self.vectors[span] @ query for span in spans])
        rows = np.concatenate([self.rows[span] for span in spans])
        if len(rows) <= self.k:
            return np.asarray(rows)
        return np.asarray(rows[np.argpartition(scores, len(rows) - self.k)[len(rows) - self.k :]])


def fastest_session(model: OnnxModel, inputs: Mapping[str, Array], output: str) -> Callable[[Any], Array]:
    """Returns ``model`` with the fastest of ONNX Runtime's settings on one thread."""

    def open_session(**settings: Any) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for key in settings.pop("entries", ()):
            options.add_session_config_entry(key, "1")
        for name, value in settings.items():
            setattr(options, name, value)
        return ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])

    sessions = {
        "defaults": open_session(),
        "no arena": open_session(enable_cpu_mem_arena=False),
        "no memory pattern": open_session(enable_mem_pattern=False),
        "denormals as zero": open_session(entries=("session.set_denormal_as_zero",)),
    }

    def run(session: ort.InferenceSession, inputs: Mapping[str, Array]) -> Array:
        return np.asarray(session.run([output], {name: inputs[name] for name in model.inputs})[0])

    methods = {name: partial(run, session) for name, session in sessions.items()}
    return methods[fastest(f"{model.path.name} in ONNX Runtime", methods, [inputs] * 5)[0]]


def pyversity_dpp(
    vectors: Array, scores: Array, k: int, diversity: float, window: int | None = None
) -> Array:
    """Selects by pyversity's DPP with karec's trade-off.

    The weight of relevance is (1 − diversity)·scale there, and (1 − diversity)/(2·diversity) here. It has
    neither ridge nor window: after D picks it continues with rounding errors, up to overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = diversify(
            vectors, scores, k, strategy=Strategy.DPP, diversity=diversity, scale=0.5 / diversity
        )
    return np.asarray(result.indices)


def numpy_dpp(vectors: Array, scores: Array, k: int, diversity: float, window: int | None = None) -> Array:
    """Selects by karec's definition of the DPP.

    With A = ridge·I + Σ f fᵀ over the picks, an item's conditional variance is ridge·(1 + fᵀ A⁻¹ f), and each
    pick is a rank-one update of A⁻¹. With a window the small matrix of the last picks is inverted at each
    step.

    Cost: O(N·D) a pick.
    """
    f = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    z = (scores - scores.mean()) / max(float(scores.std()), 1e-12)
    q2 = np.exp((1 - diversity) / diversity * (z - z.max())).astype(np.float32)
    ridge, k = np.float32(RIDGE), min(k, len(f))
    inverse = np.eye(f.shape[1], dtype=np.float32) / ridge
    variance = prior_variance = np.einsum("ij,ij->i", f, f) + ridge
    picks, gains = np.empty(k, np.int64), np.empty_like(q2)
    for i in range(k):
        np.multiply(q2, variance, out=gains)
        picks[i] = pick = int(gains.argmax())
        q2[pick] = -1.0
        if window is not None:
            near = f[picks[max(i + 2 - window, 0) : i + 1]]
            along = f @ near.T
            variance = prior_variance - (
                (along @ np.linalg.inv(near @ near.T + ridge * np.eye(len(near)))) * along
            ).sum(axis=1)
            continue
        u = inverse @ f[pick]
        scale = np.float32(1.0 / (1.0 + f[pick] @ u))
        inverse -= np.outer(u * scale, u)
        along = f @ u
        along *= along
        along *= ridge * scale
        variance = np.subtract(variance, along, out=variance if i else None)
    return picks
