"""Regression trees of an ONNX model that the native library scores in place of ONNX Runtime.

M.trees.npz, beside M.onnx, stores the trees and the rest of the model: the model without these trees, whose
sums are inputs of the rest. ``karec.learn.export.trees`` writes it. The scores have the bits of ONNX
Runtime's on one thread: float32 sums in the order of the trees. ONNX Runtime follows each tree from node to
node and mispredicts half of the branches; the library does not branch.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from karec import _native
from karec.errors import BundleError
from karec.files import parse_json, read_npz, to_struct

FORMAT = 1
ARRAYS = {  # of one ensemble, as ``_native.TreeEnsemble`` takes them: dtype and number of axes
    "sizes": ("int64", 1),
    "sums": ("int64", 1),
    "features": ("int32", 1),
    "values": ("float32", 1),
    "children": ("int32", 2),
    "missing_first": ("uint8", 1),
}
MAX_COLUMNS = 2**31 - 1  # of an input

_log = logging.getLogger("karec.models")


class _Ensemble(Struct):
    input: str
    columns: Annotated[int, Meta(gt=0, le=MAX_COLUMNS)]
    outputs: tuple[str, ...]


class _Head(Struct):
    format: Literal[1]
    model_xxh64: str
    ensembles: list[_Ensemble]


@dataclass(frozen=True)
class Port:
    """A declared input or output.

    dtype   NumPy's name, or the type as ONNX Runtime names it
    shape   None for an axis of any size; None if it is a number or has no declared shape
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} (of unknown shape)"
        return f"{self.dtype} ({', '.join('N' if size is None else str(size) for size in self.shape)})"


@dataclass(frozen=True, eq=False)
class Trees:
    """The trees that read one input of a model. Any number of threads may call ``scores``.

    input     name of the input
    columns   its number of columns
    outputs   names of the sums, which are inputs of the rest of the model
    """

    input: str
    columns: int
    outputs: tuple[str, ...]
    ensemble: _native.TreeEnsemble

    def scores(self, rows: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Returns (N, 1) float32 for each output. ``rows``: (N, columns) float32, else ValueError."""
        sums = self.ensemble.scores(rows)
        return {name: sums[t][:, None] for t, name in enumerate(self.outputs)}


@dataclass(frozen=True, eq=False)
class StoredTrees:
    """The content of a trees file.

    model   the ONNX file that it was made from
    trees   one ensemble for each input that trees read
    rest    this model without these trees
    """

    model: Path
    trees: tuple[Trees, ...]
    rest: bytes

    @property
    def n_trees(self) -> int:
        return sum(len(trees.ensemble) for trees in self.trees)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(name for trees in self.trees for name in trees.outputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Returns the sums of all trees, (N, 1) float32 by output."""
        sums: dict[str, NDArray[Any]] = {}
        for trees in self.trees:
            sums |= trees.scores(inputs[trees.input])
        return sums

    def check_ports(self, ports: Mapping[str, Port]) -> None:
        """Checks that ``ports``, the inputs of the rest, fit the trees. Raises BundleError if they do not.

        The input of an ensemble is float32 (N, columns), and each output float32 (N, 1).
        """
        for trees in self.trees:
            for name, columns in ((trees.input, trees.columns), *((output, 1) for output in trees.outputs)):
                if name not in ports:
                    raise _damaged(self.model, f"its model without trees has no input {name[:60]!r}")
                port = ports[name]
                # An input may have a fixed number of rows: that of the model.
                rows = port.shape[:1] if port.shape and name == trees.input else (None,)
                if port.dtype != "float32" or port.shape != (*rows, columns):
                    raise _damaged(
                        self.model,
                        f"input {name[:60]!r} of its model without trees is {port}, expected float32 "
                        f"(N, {columns})",
                    )

    def make_error(self, reason: object) -> BundleError:
        """Returns the error that names the trees file and the command that writes it again."""
        return _damaged(self.model, reason)


def trees_path(model: Path) -> Path:
    """The path of the trees file of the ONNX file ``model``."""
    return model.parent / f"{model.stem}.trees.npz"


def load_trees(model: Path) -> StoredTrees | None:
    """Returns the stored trees of the ONNX file ``model``, or None if it has none.

    Trees that were made from another file are not used either: a warning is logged. Raises OSError if
    ``model`` cannot be read, and BundleError if the trees file cannot be read or is damaged: a child or
    feature that does not exist, a cycle, a weight that is not finite, an output of two ensembles.
    """
    path = trees_path(model)
    if not path.exists():
        return None
    try:
        arrays = _read_arrays(model)
        head = to_struct(parse_json(_array(arrays, "head", "uint8", 1).tobytes()), _Head)
        if head.model_xxh64 != f"{_native.xxh64_of_file(os.fsencode(model)):016x}":
            _log.warning(
                "%s was made from another file than %s: ONNX Runtime scores its trees, more slowly. Write it "
                "again: karec export trees %s",
                path,
                model.name,
                model,
            )
            return None
        trees = tuple(_read_ensemble(arrays, e, entry) for e, entry in enumerate(head.ensembles))
        if not trees:
            raise ValueError("it has no ensembles")
        _check_names(trees)
        return StoredTrees(model, trees, _array(arrays, "rest", "uint8", 1).tobytes())
    except ValueError as error:
        raise _damaged(model, error) from error


def copy_model(model: Path, to: Path) -> None:
    """Copies the ONNX file ``model`` to ``to``, with its file of trees or row sums if it has one."""
    for suffix in (".trees.npz", ".sums.npz"):
        part, copy = model.with_suffix(suffix), to.with_suffix(suffix)
        if part.exists():
            shutil.copyfile(part, copy)
        else:
            copy.unlink(missing_ok=True)
    shutil.copyfile(model, to)


def _damaged(model: Path, reason: object) -> BundleError:
    return _make_error(model, f"is not a trees file, or a damaged one: {reason}")


def _make_error(model: Path, problem: str) -> BundleError:
    return BundleError(f"{trees_path(model)} {problem}. Write it again: karec export trees {model}")


def _read_arrays(model: Path) -> Mapping[str, NDArray[Any]]:
    try:
        return read_npz(trees_path(model))
    except OSError as error:  # of a folder it names a file descriptor, not the path
        raise _make_error(model, f"cannot be read: {error.strerror}") from error


def _read_ensemble(arrays: Mapping[str, NDArray[Any]], e: int, entry: _Ensemble) -> Trees:
    stored = {name: _array(arrays, f"{name}.{e}", *kind) for name, kind in ARRAYS.items()}
    if stored["missing_first"].max(initial=0) > 1:
        raise ValueError(f"missing_first.{e} holds {stored['missing_first'].max()}, expected 0 or 1")
    ensemble = make_ensemble(stored, entry.columns, len(entry.outputs))
    return Trees(entry.input, entry.columns, entry.outputs, ensemble)


def _check_names(trees: Sequence[Trees]) -> None:
    """Raises ValueError if two outputs have one name, or an output has the name of an input."""
    inputs = {ensemble.input for ensemble in trees}
    for name, n_uses in Counter(output for ensemble in trees for output in ensemble.outputs).items():
        if n_uses > 1:
            raise ValueError(f"{n_uses} outputs of its head are {name[:60]!r}, expected distinct names")
        if name in inputs:
            raise ValueError(f"{name[:60]!r} of its head is an input and an output, expected one of both")


def make_ensemble(arrays: Mapping[str, NDArray[Any]], columns: int, n_outputs: int) -> _native.TreeEnsemble:
    """Returns the ensemble of ``arrays`` (see ``ARRAYS``). Raises ValueError if a node is damaged."""
    return _native.TreeEnsemble(
        arrays["sizes"],
        arrays["sums"],
        arrays["features"],
        arrays["values"],
        arrays["children"],
        arrays["missing_first"] != 0,
        columns,
        n_outputs,
    )


def _array(arrays: Mapping[str, NDArray[Any]], name: str, dtype: str, axes: int) -> NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"it has no array {name!r}")
    array = arrays[name]
    if array.dtype != np.dtype(dtype) or array.ndim != axes:
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} axes, expected {dtype} with {axes}")
    return array
