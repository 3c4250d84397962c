"""Regression trees of an ONNX model that the native library scores in place of ONNX Runtime.

M.trees.npz, beside M.onnx, stores the trees and the rest of the model: the model without these trees, whose
sums are inputs of the rest. ``karec.learn.export.trees`` writes it. The scores have the bits of ONNX
Runtime's on one thread: float32 sums in the order of the trees. ONNX Runtime follows each tree from node to
node and mispredicts half of the branches; the library does not branch.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karec import _native
from karec._stored import json_of, open_regular, read_npz
from karec.errors import BundleError
from karec.types import Array

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
_HEAD = {"format": int, "model_sha256": str, "ensembles": list}
_ENSEMBLE = {"input": str, "columns": int, "outputs": list}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trees:
    """The trees that read one input of a model. Any number of threads may call ``scores``.

    input     name of the input
    outputs   names of the sums, which are inputs of the rest of the model
    """

    input: str
    outputs: tuple[str, ...]
    ensemble: _native.TreeEnsemble

    def scores(self, rows: Array) -> Mapping[str, Array]:
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

    def check_inputs(self, names: set[str]) -> None:
        """Raises BundleError if ``names``, the inputs of the rest, lack an input or output of the trees."""
        for name in (name for each in self.trees for name in (each.input, *each.outputs)):
            if name not in names:
                raise _damaged(self.model, f"its model without trees has no input {name[:60]!r}")


def trees_path(model: Path) -> Path:
    """The path of the trees file of the ONNX file ``model``."""
    return model.parent / f"{model.stem}.trees.npz"


def load_trees(model: Path) -> StoredTrees | None:
    """Returns the stored trees of the ONNX file ``model``, or None if it has none.

    Trees that were made from another file are not used either: a warning is logged. Raises OSError, and
    BundleError if the trees file is damaged: a child or feature that does not exist, a cycle, a weight that
    is not finite.
    """
    path = trees_path(model)
    if not path.exists():
        return None
    try:
        arrays = read_npz(path)
        head = _head_of(arrays)
        with open_regular(model) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if head["model_sha256"] != digest:
            _log.warning(
                "%s was made from another file than %s: ONNX Runtime scores its trees, more slowly. Write it "
                "again: karec export trees %s",
                path,
                model.name,
                model,
            )
            return None
        trees = tuple(_ensemble_of(arrays, e, facts) for e, facts in enumerate(head["ensembles"]))
        if not trees:
            raise ValueError("it has no ensembles")
        return StoredTrees(model, trees, _array(arrays, "rest", "uint8", 1).tobytes())
    except ValueError as error:
        raise _damaged(model, error) from error


def copy_model(model: Path, to: Path) -> None:
    """Copies the ONNX file ``model`` to ``to``, with its trees file if it has one."""
    if trees_path(model).exists():
        shutil.copyfile(trees_path(model), trees_path(to))
    else:
        trees_path(to).unlink(missing_ok=True)
    shutil.copyfile(model, to)


def _damaged(model: Path, reason: object) -> BundleError:
    return BundleError(
        f"{trees_path(model)} is not a trees file, or a damaged one: {reason}. Write it again: karec export "
        f"trees {model}"
    )


def _head_of(arrays: Mapping[str, Array]) -> Mapping[str, Any]:
    head = json_of(_array(arrays, "head", "uint8", 1).tobytes())
    _check_types(head, _HEAD, "its head")
    if head["format"] != FORMAT:
        raise ValueError(f"its format is {head['format']}, this karec reads {FORMAT}")
    return dict(head)


def _ensemble_of(arrays: Mapping[str, Array], e: int, facts: Any) -> Trees:
    _check_types(facts, _ENSEMBLE, f"ensemble {e} of its head")
    outputs, columns = facts["outputs"], facts["columns"]
    if not all(isinstance(name, str) for name in outputs) or len(set(outputs)) < len(outputs):
        raise ValueError(f"the outputs of ensemble {e} are {repr(outputs)[:60]}, expected distinct names")
    if not 0 < columns <= MAX_COLUMNS:
        raise ValueError(f"ensemble {e} reads {columns} columns, expected 1 to {MAX_COLUMNS}")
    stored = {name: _array(arrays, f"{name}.{e}", *kind) for name, kind in ARRAYS.items()}
    if stored["missing_first"].max(initial=0) > 1:
        raise ValueError(f"missing_first.{e} holds {stored['missing_first'].max()}, expected 0 or 1")
    return Trees(facts["input"], tuple(outputs), make_ensemble(stored, columns, len(outputs)))


def make_ensemble(arrays: Mapping[str, Array], columns: int, n_outputs: int) -> _native.TreeEnsemble:
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


def _check_types(value: Any, types: Mapping[str, type], name: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {repr(value)[:60]}, expected an object")
    for key, kind in types.items():
        if type(value.get(key)) is not kind:
            raise ValueError(f"{name}: {key} is {repr(value.get(key))[:60]}, expected {kind.__name__}")


def _array(arrays: Mapping[str, Array], name: str, dtype: str, axes: int) -> Array:
    if name not in arrays:
        raise ValueError(f"it has no array {name!r}")
    found = arrays[name]
    if found.dtype != np.dtype(dtype) or found.ndim != axes:
        raise ValueError(f"{name} is {found.dtype} with {found.ndim} axes, expected {dtype} with {axes}")
    return found
