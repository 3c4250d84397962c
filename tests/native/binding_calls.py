"""Good calls of every binding: the stubs name functions, methods and parameters, and a table has values."""

import ast
import importlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import karec.kernels
from karec import _native

N, DIM, N_LISTS = 12, 4, 3


@dataclass
class Call:
    name: str
    function: Callable[..., Any]
    arguments: list[Any]
    options: dict[str, Any] = field(default_factory=dict)


def relevance(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return rng.random(n, np.float32)


def vectors(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return rng.standard_normal((n, DIM)).astype(np.float32)


def filter_terms(rng: np.random.Generator) -> list[tuple[int, int, str, list[int], list[float], bool]]:
    """Returns terms on the column of integers: in, less, and all of both."""
    values = rng.integers(0, 3, 2).tolist()
    return [
        (4, 0, "type", values, [], False),
        (5, 0, "type", values[:1], [], False),
        (1, 2, "", [], [], False),
    ]


def dpp_options(rng: np.random.Generator) -> dict[str, Any]:
    n_shown = 2
    return {
        "alpha": 0.5,
        "ridge": 0.01,
        "type_weight": 0.25,
        "window": int(rng.integers(1, 5)),
        "max_per_type": 3,
        "min_per_type": 1,
        "fill": True,
        "weights": relevance(rng),
        "types": rng.integers(0, 3, N),
        "shown": vectors(rng, n_shown),
        "facets": rng.integers(0, 3, (2, N)),
        "facet_weights": [0.25, 0.125],
        "shown_facets": rng.integers(0, 3, (2, n_shown)),
    }


def strings(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    names = [f"item {i}".encode() for i in range(N)]
    return np.cumsum([0, *map(len, names)]), np.frombuffer(b"".join(names), np.uint8).copy()


def make_lists(
    make: Callable[[np.random.Generator], np.ndarray],
) -> Callable[[np.random.Generator], list[np.ndarray]]:
    return lambda rng: [make(rng) for _ in range(N_LISTS)]


def item_codes(rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    return [
        ("tag", rng.integers(0, 4, N).astype(np.uint32)),
        ("song", rng.integers(0, 2**32, N).astype(np.uint32)),
    ]


def tables_of_queries(n: int) -> Callable[[np.random.Generator], list[Any]]:
    """Returns a function that draws two tables for each of ``n`` queries, all or none."""

    def draw(rng: np.random.Generator) -> list[Any]:
        known = (np.array([1, 2], np.uint32), np.array([0, 2**32 - 1], np.uint32))
        tables = [(codes, rng.standard_normal(2).astype(np.float32), 0.5) for codes in known]
        return [[tables] * n] if rng.random() < 0.5 else []

    return draw


def item_index(rng: np.random.Generator) -> Any:
    columns = [("type", rng.integers(0, 3, N).astype(np.int32)), ("is_live", rng.random(N) < 0.5)]
    dtype = ("float16", "float32", "int8")[int(rng.integers(3))]
    codes, rescores = item_codes(rng), dtype == "int8"
    index = _native.ItemIndex.build(np.arange(N), vectors(rng), dtype, columns, codes, 1, rescores, 0)
    index.block([3])
    return index


def string_ids(rng: np.random.Generator) -> Any:
    path = b"good/strings"
    if not os.path.exists(path):
        _native.StringIds.build(*strings(rng), path, 2)
    return _native.StringIds.open(path, True)


def tree_arguments(rng: np.random.Generator) -> list[Any]:
    missing_first = np.array([True, False, False])
    values = np.array([0.0, 1.0, 2.0], np.float32)
    return [[3], [0], np.array([0, -1, -1]), values, np.array([[1, 2], [0, 0], [0, 0]]), missing_first, 1, 1]


def row_sums(rng: np.random.Generator) -> bytes:
    """Returns a file of row sums of a column of 3 codes and a number with 2 knots, in 5 columns."""
    head = {"format": 1, "n_codes": 1, "outputs": [{"name": "sums", "width": 5}], "model_xxh64": ""}
    file = BytesIO()
    np.savez(
        file,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        rest=np.zeros(1, np.uint8),
        rows=rng.random((1 + 3 + 2 + 1, 5), np.float32),
        code_columns=np.array([0]),
        code_sizes=np.array([3]),
        knot_counts=np.array([2]),
        knots=np.array([0.0, 1.0]),
    )
    return file.getvalue()


def cross_inputs(rng: np.random.Generator) -> Any:
    """Returns inputs of one user and N items."""
    lists = [rng.integers(0, 3, (1, length, 3)) for length in (5, 2)]
    codes = [rng.integers(0, 3, (1, width)) for width in (4, 4, 2)]
    items = rng.integers(0, 3, (N, 3))
    return _native.CrossInputs(*lists, *codes, np.array([0, 2]), items, 1, None, None, None)


def cross_weights(rng: np.random.Generator) -> list[Any]:
    return [np.array([1, 2, 4]), *(rng.random(shape, np.float32) for shape in ((3, 2), (3, 2), (3, 3)))]


OBJECTS: dict[str, Callable[[np.random.Generator], Any]] = {
    "ItemIndex": item_index,
    "IndexView": lambda rng: item_index(rng).pinned(),
    "StringIds": string_ids,
    "Vocabulary": lambda rng: _native.Vocabulary(np.arange(N)),
    "CrossInputs": cross_inputs,
    "RowSums": lambda rng: _native.RowSums.read(row_sums(rng))[2],
    "TreeEnsemble": lambda rng: _native.TreeEnsemble(*tree_arguments(rng)),
    "VectorMap": lambda rng: _native.VectorMap(np.zeros(DIM), np.eye(DIM), np.ones(DIM), 0.5),
}
# Good values by parameter, or by function and parameter.
VALUES: dict[str, Callable[[np.random.Generator], Any]] = {
    "ids": lambda rng: rng.permutation(N + 4)[:N],
    "embeddings": vectors,
    "vectors": vectors,
    "relevance": relevance,
    "scores": relevance,
    "k": lambda rng: int(rng.integers(1, N)),
    "n": lambda rng: N,
    "dtype": lambda rng: "float16",
    "columns": lambda rng: [
        ("type", rng.integers(0, 3, N).astype(np.int32)),
        ("is_live", rng.random(N) < 0.5),
    ],
    "codes": item_codes,
    "tables": tables_of_queries(2),
    "scores.tables": tables_of_queries(1),
    "rows": lambda rng: rng.integers(-1, N, N).astype(np.int32),
    "query": lambda rng: [(None, vectors(rng)[0])] if rng.random() < 0.5 else [(1, vectors(rng)[0])],
    "queries": lambda rng: [(None, vectors(rng, 2))],
    "mask": lambda rng: rng.random(N) < 0.5,
    "n_probe": lambda rng: None,
    "terms": filter_terms,
    "filter": lambda rng: _native.Filter(filter_terms(rng)),
    "before": lambda rng: rng.random(N) < 0.5,
    "generation": lambda rng: int(rng.integers(3)),
    "out": lambda rng: None,
    "known": lambda rng: None,
    "scale": relevance,
    "offset": relevance,
    "calibrate.scale": lambda rng: 1.5,
    "calibrate.offset": lambda rng: 0.5,
    "scaled.scale": lambda rng: 1.5,
    "seed": lambda rng: 5,
    "column": lambda rng: "type",
    "window": lambda rng: 3,
    "kernel": lambda rng: np.eye(N),
    "search.queries": lambda rng: [(1, vectors(rng, 2))],
    "arrange.rules": lambda rng: [
        (rng.integers(0, 9, N), rng.integers(0, 9, N), rng.integers(0, 9, 2), 3, 1) for _ in range(2)
    ],
    "slots": lambda rng: [(1, rng.random(N) < 0.5), (3, None)],
    "is_slot_only": lambda rng: rng.random(N) < 0.5,
    "mean": lambda rng: np.zeros(DIM),
    "scaled.mean": lambda rng: 0.5,
    "axes": lambda rng: np.eye(DIM),
    "variances": lambda rng: np.ones(DIM),
    "upload_ms": lambda rng: rng.integers(0, 10**12, N),
    "now_ms": lambda rng: 10**12,
    "values": lambda rng: rng.random(N),
    "groups": lambda rng: rng.integers(0, 3, N),
    "at_most": lambda rng: 2,
    "content": lambda rng: rng.bytes(40),
    "xxh64_of_file.path": lambda rng: b"good/strings",
    "ItemIndex.open.path": lambda rng: b"good/index",
    "StringIds.open.path": lambda rng: b"good/strings",
    "keys": lambda rng: rng.permutation(N),
    "moments": lambda rng: rng.integers(0, 10**12, N),
    "time_ms": lambda rng: np.full(N, 10**12),
    "counts": lambda rng: rng.random((N, 3), np.float32),
    "priors": lambda rng: rng.random(2) if rng.random() < 0.5 else rng.random((N, 2)),
    "history": lambda rng: rng.integers(0, 3, (N, 5, 3)),
    "skipped": lambda rng: rng.integers(0, 3, (N, 2, 3)),
    "follows": lambda rng: rng.integers(0, 3, (N, 4)),
    "friends": lambda rng: rng.integers(0, 3, (N, 4)),
    "shared": lambda rng: np.array([0, 2]),
    "alike": lambda rng: rng.integers(0, 3, (N, 2)),
    "items": lambda rng: rng.integers(0, 3, (N, 3)),
    "creator": lambda rng: 1,
    "cowatch": lambda rng: (
        vectors(rng),
        rng.integers(0, N, (N, 5)),
        rng.integers(0, N, (N, 2)),
        rng.integers(0, N, N),
        *((vectors(rng)[:, :3], np.eye(3)[None]) if rng.random() < 0.5 else ()),
    ),
    "logits": lambda rng: rng.standard_normal((N, 2)),
    "weights": lambda rng: rng.random(2),
    "offsets": lambda rng: strings(rng)[0],
    "text": lambda rng: strings(rng)[1],
    "kind": lambda rng: 2,
    "numbers": lambda rng: rng.integers(-1, N, N),
    "RowSums.read.npz": row_sums,
    "RowSums.sum.item_ids": lambda rng: rng.integers(0, 4, (N, 1)),
    "RowSums.sum.item_numbers": lambda rng: rng.random((N, 1), np.float32),
    "TreeEnsemble.scores.rows": lambda rng: rng.random((N, 1), np.float32),
    "CrossInputs.tables.weights": lambda rng: _native.CrossWeights(*cross_weights(rng)),
    "CrossInputs.tables.categories": lambda rng: [1, 2],
    **{
        f"CrossWeights.{name}": lambda rng, at=at: cross_weights(rng)[at]
        for at, name in enumerate(("columns", "low", "per_width", "weights"))
    },
    "width": lambda rng: 5,
    "starts": lambda rng: rng.integers(0, 5, N),
    "ends": lambda rng: rng.integers(5, N, N),
    "padded_histories.values": lambda rng: rng.integers(0, 99, N),
    "merge_channels.ids": make_lists(lambda rng: rng.permutation(N)),
    "merge_channels.scores": make_lists(relevance),
    "merge_channels.rows": lambda rng: [rng.permutation(N).astype(np.int32), None, None],
    "merge_rows.ids": make_lists(lambda rng: np.arange(N)),
    "merge_rows.scores": make_lists(relevance),
    "merge_rows.rows": make_lists(lambda rng: np.arange(N, dtype=np.int32)),
    "quotas": lambda rng: [4] * N_LISTS,
    "limit": lambda rng: N,
    "floors": lambda rng: [1] * N_LISTS,
    "left_out": lambda rng: np.array([2, 7]),
    "left_out_rows": lambda rng: np.array([2, 7], np.int32),
    "n_rows": lambda rng: N,
    "sources": lambda rng: rng.integers(0, 8, N).astype(np.uint32),
    "arrays": make_lists(lambda rng: rng.permutation(N).astype(np.int32)),
    "which": lambda rng: np.array([0, 1, 2, 1]),
    "begins": lambda rng: np.array([0, 1, 2, 3]),
    "in_turns.ends": lambda rng: np.array([4, 4, 5, N]),
    **{
        f"TreeEnsemble.{name}": lambda rng, at=at: tree_arguments(rng)[at]
        for at, name in enumerate(
            ("sizes", "outputs", "features", "values", "children", "missing_first", "n_features", "n_outputs")
        )
    },
}
BY_ANNOTATION: dict[str, Callable[[np.random.Generator], Any]] = {
    "int": lambda rng: 1,
    "float": lambda rng: 0.5,
    "bool": lambda rng: bool(rng.integers(2)),
    "str": lambda rng: "name",
    "bytes": lambda rng: b"written",
}


@dataclass(frozen=True)
class Binding:
    module: str
    class_name: str | None
    method: str  # "" = the constructor
    parameters: tuple[tuple[str, str], ...]  # name and annotation
    takes_options: bool

    @property
    def name(self) -> str:
        return ".".join(part for part in (self.class_name, self.method) if part)

    def good_value(self, parameter: str, annotation: str, rng: np.random.Generator) -> Any:
        for key in (f"{self.name}.{parameter}", f"{self.method}.{parameter}", parameter):
            if key in VALUES:
                return VALUES[key](rng)
        return BY_ANNOTATION.get(annotation, relevance)(rng)

    def good_call(self, seed: int) -> Call:
        rng = np.random.default_rng(seed)
        owner: Any = importlib.import_module(self.module)
        if self.class_name and self.method:
            owner = OBJECTS[self.class_name](rng)
        function = getattr(owner, self.method or self.class_name or "")
        arguments = [self.good_value(name, annotation, rng) for name, annotation in self.parameters]
        return Call(self.name, function, arguments, dpp_options(rng) if self.takes_options else {})


def bindings() -> list[Binding]:
    """Returns every function, constructor and method that the stubs declare."""
    stubs = {"karec._native": Path(_native.__file__).parent / "_native.pyi"}
    for path in sorted(Path(karec.kernels.__file__).parent.glob("*.pyi")):
        stubs[f"karec.kernels.{path.stem}"] = path
    return [binding for module, path in stubs.items() for binding in parse_bindings(module, path)]


def parse_bindings(module: str, path: Path) -> Iterator[Binding]:
    tree = ast.parse(path.read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield parse_binding(module, None, node)
    for name, node in classes.items():
        if name.startswith("_"):
            continue
        bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
        for member in (item for part in (node, *bases) for item in part.body):
            if isinstance(member, ast.FunctionDef) and not is_property(member) and member.name != "__len__":
                yield parse_binding(module, name, member)


def is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "property" for node in function.decorator_list)


def parse_binding(module: str, class_name: str | None, function: ast.FunctionDef) -> Binding:
    parameters = [(p.arg, ast.unparse(p.annotation) if p.annotation else "") for p in function.args.args]
    if parameters and parameters[0][0] == "self":
        del parameters[0]
    method = "" if function.name == "__init__" else function.name
    return Binding(module, class_name, method, tuple(parameters), function.args.kwarg is not None)
