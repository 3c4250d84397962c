"""Exports torch models to ONNX with dynamic batch; fails if ONNX Runtime and torch differ."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.errors import KarecError, one_line
from karec.files import file_aside
from karec.learn._torch import Tensor, nn, torch
from karec.learn.export.row_sums import RowSumsExport, SummedForm
from karec.learn.export.trees import write_trees
from karec.models.onnx_model import OnnxModel
from karec.models.row_sums import NO_SUMS, sums_path

_log = logging.getLogger("karec.learn")
OPSET = 18
TOLERANCE = 1e-5


class ExportError(KarecError):
    """The outputs of the exported and the trained model differ."""


class _Positional(nn.Module):
    """Passes positional tensors, as the exporter gives them, to a model that takes them by name."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        result: Tensor | tuple[Tensor, ...] = self.module(dict(zip(self.names, tensors, strict=True)))
        return result


def export_onnx(
    module: nn.Module,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    path: Path,
    *,
    kind: str,
    tasks: Sequence[str],
    model_version: int,
    shared: Sequence[str] = (),
    form: nn.Module | None = None,
    summed: Callable[[], SummedForm] | None = None,
) -> None:
    """Writes ``module`` to ``path`` with dynamic first axes and the metadata kind, tasks and model_version.

    Args
      inputs   example batch of at least two rows, with exactly the inputs that the module reads
      shared   inputs that may have one row for all rows of the others (one user, many items); the module must
               broadcast them
      form     written instead of ``module``: the same function of the same inputs, faster when serving
      summed   returns the form of which a file of row sums is also written. If that fails, the reason is
               logged and stored in the model's metadata.

    Raises ExportError if ONNX Runtime's outputs for that batch, for its first row, or with its first row
    shared differ from torch's by more than 1e-5.
    """
    module.eval()
    proto = _to_proto(module if form is None else form.eval(), inputs, outputs, shared)
    write = partial(write_onnx, proto, path, kind=kind, tasks=tasks, model_version=model_version)
    more: dict[str, str] = {}
    sums = None
    if summed is not None:
        try:
            sums = _make_sums(summed(), inputs, outputs, shared)
        except Exception as error:  # of any kind; ONNX Runtime then computes the whole model
            _log.warning("%s: no row sums: %s", path, error)
            more[NO_SUMS] = one_line(str(error))
    write(more=more, sums=sums)
    first = {name: value[:1] for name, value in inputs.items()}
    parts = [inputs, first, {**inputs, **{name: first[name] for name in shared}}]
    for part in parts:
        _check_parity(module, part, outputs, path, plain=True)
    try:
        for part in parts if sums is not None else ():
            _check_parity(module, part, outputs, path, plain=False)
    except KarecError as error:
        reason = one_line(str(error).removeprefix(f"{path}: "))  # a model has no path of its training
        _log.warning("%s: no row sums: %s", path, reason)
        write(more={NO_SUMS: reason})


def _make_sums(
    summed: SummedForm, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], shared: Sequence[str]
) -> RowSumsExport:
    n, n_codes = inputs["item_ids"].shape
    sums = {name: np.zeros((n, width), np.float32) for name, width in summed.outputs.items()}
    read = {name: inputs[name] for name in summed.inputs}
    rest = _to_proto(summed.module.eval(), read | sums, outputs, shared)
    widths = [{"name": name, "width": width} for name, width in summed.outputs.items()]
    return RowSumsExport({"n_codes": n_codes, "outputs": widths}, summed.arrays, rest)


def _to_proto(
    module: nn.Module, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], shared: Sequence[str]
) -> onnx.ModelProto:
    """Returns ``module`` as ONNX, with a dynamic first axis of ``shared`` inputs, and one of the others."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
    rows = torch.export.Dim("rows")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            _Positional(module, list(tensors)),
            tuple(tensors.values()),
            input_names=list(tensors),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(tuple({0: rows} for _ in tensors),),
            verbose=False,
        )
    if program is None:
        raise ExportError("torch exported no program")
    proto: onnx.ModelProto = program.model_proto
    if shared:
        _let_broadcast(proto, shared)
    return proto


def _let_broadcast(proto: onnx.ModelProto, shared: Sequence[str]) -> None:
    """Gives ``shared`` inputs their own dynamic axis and drops shapes inferred without it."""
    del proto.graph.value_info[:]
    for value in proto.graph.input:
        if value.name in shared:
            value.type.tensor_type.shape.dim[0].dim_param = "shared"


def write_onnx(
    proto: onnx.ModelProto,
    path: Path,
    *,
    kind: str,
    tasks: Sequence[str],
    model_version: int,
    more: Mapping[str, str] | None = None,
    sums: RowSumsExport | None = None,
) -> None:
    """Saves ``proto`` as one file with the metadata for serving plus ``more``, without source lines of nodes.

    Writes the trees file too if the model has trees (``karec.learn.export.trees``), and the file of ``sums``.
    The metadata ``fingerprint`` depends only on graph and weights, so it stays equal in another version.
    Raises ExportError if a weight is NaN.
    """
    protos = [proto] if sums is None else [proto, sums.rest]
    for written in protos:
        _check_weights(written.graph, path)
        graph = written.graph
        for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph):
            del part.metadata_props[:]
    fingerprint = hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()[:16]
    facts = {
        **(more or {}),
        "kind": kind,
        "tasks": json.dumps(list(tasks)),
        "model_version": str(model_version),
    }
    for written in protos:
        onnx.helper.set_model_props(written, {**facts, "fingerprint": fingerprint})
    data = proto.SerializeToString()
    write_trees(proto, data, path)  # first, so that a process that finds the model also finds its other files
    if sums is None:
        sums_path(path).unlink(missing_ok=True)
    else:
        sums.write(data, path)
    with file_aside(path) as file:
        file.write(data)


def _check_weights(graph: onnx.GraphProto, path: Path) -> None:
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ExportError(f"{path}: weight {weight.name!r} contains NaN")


def copy_as_version(path: Path, out: Path, model_version: int) -> None:
    """Writes the model ``path`` to ``out`` with another version; the fingerprint stays."""
    model, proto = OnnxModel(path), onnx.load_model(path)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    write_onnx(
        proto,
        out,
        kind=model.kind,
        tasks=model.tasks,
        model_version=model_version,
        more=facts,
        sums=RowSumsExport.read(path) if model.row_sums_bytes else None,
    )


def _check_parity(
    module: nn.Module, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], path: Path, *, plain: bool
) -> None:
    with torch.no_grad():
        expected = module(
            {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}
        )
    outputs_onnx = OnnxModel(path, plain=plain).run(inputs, *outputs)
    for name, value, expected_value in zip(
        outputs, outputs_onnx, expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        difference = float(np.abs(value - expected_value.numpy()).max(initial=0.0))
        if not difference <= TOLERANCE:
            by = "ONNX Runtime" if plain else "row sums"
            raise ExportError(
                f"{path}: output {name!r} of {by} differs from torch's by {difference:.2e} > {TOLERANCE}"
            )
