"""Checks the declared inputs, outputs and vector widths of the loaded models of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from karec.bundle.vector_spaces import SPACES, Space
from karec.errors import BundleError
from karec.models.onnx_model import OnnxModel
from karec.models.port import Port
from karec.models.trees import trees_path

if TYPE_CHECKING:  # it needs the compiled kernels, which a host of an index alone may lack
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex

MAX_PORTS = 10_000  # inputs and outputs of a model
MAX_AXES = 64
VECTORS = {space.user_tower: "user_vector" for space in SPACES} | {
    space.item_tower: "item_vector" for space in SPACES
}
"""The output that the index meets, by what the names of models begin with."""


def check_model(model: OnnxModel, encoder: Encoder | None) -> None:
    """Raises BundleError if serving cannot use ``model`` with ``encoder``.

    Causes: a missing output or dynamic batch, an input that ``encoder`` does not give, or a trees file that
    was made from another model.
    """
    ports = [*model.input_ports.values(), *model.output_ports.values()]
    if len(ports) > MAX_PORTS:
        raise BundleError(f"{model.path} has more than {MAX_PORTS} inputs and outputs")
    if any(len(port.shape or ()) > MAX_AXES for port in ports):
        raise BundleError(f"{model.path}: an input or output has more than {MAX_AXES} axes")
    if trees_path(model.path).exists() and not model.trees:
        raise BundleError(f"{trees_path(model.path)} was made from another file than {model.path.name}")
    _check_outputs(model)
    if encoder is not None:
        _check_inputs(model, encoder)


def check_towers(
    folder: Path, space: Space, models: Mapping[str, OnnxModel], index: ItemIndex | None
) -> None:
    """Raises BundleError unless the towers of ``space`` and its ``index`` have vectors of one width.

    ``models``: all models of the bundle, by file name.
    """
    widths = {} if index is None else {space.index: index.dim}
    for name in (space.item, space.own, *space.others_of(models)):
        if name not in models:
            continue
        output = _vector(name)
        shape = models[name].output_ports[output].shape if output else None
        width = shape[-1] if shape else None
        for other, of_other in widths.items():
            if width not in (None, of_other):
                raise BundleError(f"{folder / name} gives vectors of {width} numbers, {other} has {of_other}")
        if width is not None:
            widths[name] = width


def _vector(name: str) -> str | None:
    return next((output for tower, output in VECTORS.items() if name.startswith(tower)), None)


def _check_outputs(model: OnnxModel) -> None:
    vector = _vector(model.path.name)
    output = vector or "logits"
    port = model.output_ports.get(output)
    if port is None:
        raise BundleError(f"{model.path} has no output {output!r}; it has {sorted(model.outputs)[:8]}")
    wrong = port.shape is not None and len(port.shape) != 2
    if port.dtype != "float32" or wrong:
        raise BundleError(f"{model.path}: output {output!r} is {port}, expected float32 of two axes")
    n_tasks = len(model.tasks)
    if vector is None and port.shape is not None and port.shape[1] not in (None, n_tasks):
        raise BundleError(
            f"{model.path}: output 'logits' is {port}, expected one column for each of {n_tasks} tasks"
        )


def _check_inputs(model: OnnxModel, encoder: Encoder) -> None:
    given = encoder.inputs
    of_one_user = _vector(model.path.name) == "user_vector"
    for name, port in model.input_ports.items():
        if name not in given:
            raise BundleError(
                f"{model.path} reads the input {name[:60]!r}; the encoder gives {sorted(given)}"
            )
        dtype, shape = given[name]
        if port.dtype != dtype or not _fits(port.shape, shape, of_one_user):
            raise BundleError(
                f"{model.path}: input {name!r} is {port}, the encoder gives {Port(dtype, (None, *shape))}"
            )


def _fits(asked: tuple[int | None, ...] | None, given: tuple[int, ...], of_one_user: bool) -> bool:
    """Any number of rows, or one where all that is read is of one user; on the other axes what is given."""
    if asked is None:
        return True
    rows = (None, 1) if of_one_user else (None,)
    return (
        len(asked) == 1 + len(given)
        and asked[0] in rows
        and all(size in (None, of_given) for size, of_given in zip(asked[1:], given, strict=True))
    )
