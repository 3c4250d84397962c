"""Alternative methods of the chain's searches and models, from NumPy, Numba, FAISS and ONNX Runtime.

``fastest`` measures methods before the first request, and prints which one serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from peers import least_setting, mean_recall

from chain.kernels import add_tables, expand, score_rows
from karec.bundle import Bundle
from karec.models.onnx_model import OnnxModel
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Array

try:
    import faiss
except ImportError:  # FAISS is in the group `bench`; the smoke test of the benchmarks runs without it
    faiss = None

BLOCK = 4096  # rows that are gathered and multiplied at once: 1 MiB of float32 at 64 dimensions


class Query(NamedTuple):
    """A user's vector (D,), and what each code of ``Vectors.codes`` adds to a score."""

    vector: Array
    tables: Array


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


def largest(scores: Array, k: int) -> Array:
    """Returns the positions of the ``k`` largest scores, in no order."""
    if k >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])[:k]


class Vectors:
    """float32 vectors and codes of items by rows of the snapshot (0 if missing), and their searches."""

    def __init__(self, cascade: Cascade, bundle: Bundle) -> None:
        ids = np.asarray(bundle.snapshot.works.ids)
        assert cascade.index is not None
        with cascade.index.pinned() as view:
            rows = np.asarray(view.lookup(ids))
            self.present = rows >= 0
            self.all = np.zeros((len(ids), view.dim), np.float32)
            self.all[self.present] = view.embeddings(rows[self.present].astype(np.int32))
            self.n_lists, columns = view.n_lists or 1, view.code_columns
        codes = bundle.encoder.item_codes(bundle.snapshot, np.arange(len(ids)), columns)
        found = [np.unique(codes[name], return_inverse=True) for name in columns]
        self.columns = columns
        self.known_codes = [known for known, _ in found]
        self.ends = np.cumsum([0, *map(len, self.known_codes)])
        self.codes = np.zeros((len(ids), len(columns)), np.int32)
        for c, (_, places) in enumerate(found):
            self.codes[:, c] = self.ends[c] + places

    def query(self, vector: Array, tables: Mapping[str, Any] | None) -> Query:
        out = np.zeros(self.ends[-1], np.float32)
        for c, name in enumerate(self.columns if tables else ()):
            table, known, part = tables[name], self.known_codes[c], out[self.ends[c] : self.ends[c + 1]]
            part[:] = table.other
            places = np.minimum(np.searchsorted(known, table.codes), len(known) - 1)
            is_known = known[places] == table.codes
            part[places[is_known]] = table.values[is_known]
        return Query(vector, out)

    def score_methods(self) -> dict[str, Callable[[tuple[Array, Query]], Array]]:
        """Returns methods that score (rows, query)."""

        def by_blocks(rows: Array, query: Query) -> Array:
            out = np.empty(len(rows), np.float32)
            for i in range(0, len(rows), BLOCK):
                np.dot(self.all.take(rows[i : i + BLOCK], axis=0), query.vector, out=out[i : i + BLOCK])
            add_tables(out, self.codes, query.tables, rows)
            return out

        def by_idx(rows: Array, query: Query) -> Array:
            out, rows64, pointer = np.empty(len(rows), np.float32), rows.astype(np.int64), faiss.swig_ptr
            places = (pointer(out), pointer(query.vector), pointer(self.all), pointer(rows64))
            faiss.fvec_inner_products_by_idx(*places, self.all.shape[1], 1, len(rows))
            add_tables(out, self.codes, query.tables, rows)
            return out

        def fused(rows: Array, query: Query) -> Array:
            return score_rows(self.all, self.codes, query.vector, query.tables, rows)

        methods = {f"NumPy gather by {BLOCK}": by_blocks, "Numba": fused}
        methods |= {} if faiss is None else {"FAISS by_idx": by_idx}
        return {name: lambda pair, score=score: score(*pair) for name, score in methods.items()}

    def scan_methods(self) -> dict[str, Callable[[Query], Array]]:
        """Returns methods that score all items."""
        rows = np.arange(len(self.all), dtype=np.int32)

        def product(query: Query) -> Array:
            scores = self.all @ query.vector
            add_tables(scores, self.codes, query.tables, rows)
            return scores

        def fused(query: Query) -> Array:
            return score_rows(self.all, self.codes, query.vector, query.tables, rows)

        return {"NumPy": product, "Numba": fused}

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


def nearest_methods(
    vectors: Vectors, queries: list[Query], k: int, recall: float
) -> dict[str, Callable[[Query], Array]]:
    """Returns methods that find the k best of all items; those with lists have at least ``recall``.

    FAISS's own searches know no tables: with wide towers Numba reads FAISS's lists.
    """
    scan = vectors.scan_methods()["Numba"]
    if faiss is None:
        print("  FAISS is not installed (make bench installs it): its methods are left out")
        return {}
    searches: dict[str, Callable[[int, Query], Array]] = {}
    methods: dict[str, Callable[[Query], Array]] = {}
    if not vectors.columns:
        whole = faiss.IndexFlatIP(vectors.all.shape[1])
        whole.add(vectors.all)
        methods["FAISS flat"] = lambda query: whole.search(query.vector[None], k)[1][0]
    if recall == 1:
        return methods
    exact = [largest(scan(query), k) for query in queries]
    flat, coded = vectors.lists()
    if not vectors.columns:
        searches["FAISS IVFFlat"] = partial(search_faiss, flat, k)
        searches["FAISS IVF SQ8"] = partial(search_faiss, coded, k)
    searches["FAISS's lists read by Numba"] = ListScan(flat, vectors, k)
    for name, search in searches.items():

        def recall_of(n_probe: int, search: Callable[[int, Query], Array] = search) -> float:
            return mean_recall(exact, [search(n_probe, query) for query in queries])

        n_probe = least_setting(recall_of, vectors.n_lists, recall)
        methods[f"{name} ({n_probe:,}, recall {recall_of(n_probe):.3f})"] = partial(search, n_probe)
    return methods


def search_faiss(index: Any, k: int, n_probe: int, query: Query) -> Array:
    index.nprobe = n_probe
    rows = index.search(query.vector[None], k)[1][0]
    return np.asarray(rows[rows >= 0], np.int32)


class ListScan:
    """Searches the lists of an IVFFlat as parts of one matrix: Numba's products and NumPy's selection."""

    def __init__(self, index: Any, vectors: Vectors, k: int) -> None:
        self.index = index  # owns the quantizer
        self.k = k
        lists = index.invlists
        sizes = [lists.list_size(i) for i in range(index.nlist)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(i), n) for i, n in enumerate(sizes) if n]
        self.rows = np.concatenate(parts).astype(np.int32)
        self.ends = np.append(0, np.cumsum(sizes))
        self.vectors, self.codes = vectors.all[self.rows], vectors.codes[self.rows]

    def __call__(self, n_probe: int, query: Query) -> Array:
        near = np.sort(self.index.quantizer.search(query.vector[None], n_probe)[1][0])
        places = expand(self.ends[near], self.ends[near + 1])
        scores = score_rows(self.vectors, self.codes, query.vector, query.tables, places)
        return np.asarray(self.rows[places[largest(scores, self.k)]])


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
