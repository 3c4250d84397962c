"""What a bundle's model declares, against what the encoder gives it and the cascade asks of it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from karec.bundle.spaces import SPACES
from karec.bundle.versions import check_version
from karec.errors import BundleError
from karec.models.onnx_file import Declared, Port, read_declared

if TYPE_CHECKING:  # it needs the compiled kernels, which a host of an index alone may lack
    from karec.features.encoder import Encoder

MOST_TASKS = 1 << 16  # characters of their names
VECTORS = {space.user_tower: "user_vector" for space in SPACES} | {
    space.item_tower: "item_vector" for space in SPACES
}
"""The output that the index meets, by what the names of models begin with."""


def check_model(path: Path, folder: Path, of_bundle: int, encoder: Encoder | None) -> tuple[Declared, int]:
    """What the model at ``path`` in the bundle's ``folder`` declares, and its version.

    BundleError: it is no ONNX file or a damaged one, reads weights from outside the folder, lacks metadata,
    an output or a dynamic batch, or reads what ``encoder`` does not give.
    """
    declared = read_declared(path)
    for place in declared.outside:
        within = os.path.realpath(path.parent / place).startswith(os.path.realpath(folder) + os.sep)
        if "\0" in place or not within or not (path.parent / place).is_file():
            raise BundleError(f"{path} reads weights from {place[:100]!r}, which is no file of the bundle")
    version, tasks = _metadata(path, declared)
    check_version(path, version, of_bundle)
    _check_outputs(path, declared, tasks)
    if encoder is not None:
        _check_inputs(path, declared, encoder)
    return declared, version


def tower_width(name: str, declared: Declared) -> int | None:
    """How many numbers a tower's vectors have; None for a ranker, and where the tower does not say."""
    output = _vector(name)
    shape = declared.outputs[output].shape if output else None
    return shape[-1] if shape else None


def _vector(name: str) -> str | None:
    return next((output for tower, output in VECTORS.items() if name.startswith(tower)), None)


def _metadata(path: Path, declared: Declared) -> tuple[int, int]:
    """(model version, how many tasks)."""
    facts = declared.metadata
    missing = [name for name in ("kind", "model_version", "tasks") if name not in facts]
    if missing:
        raise BundleError(f"{path}: metadata lacks {missing}")
    whole = re.fullmatch(r"-?\d{1,19}", facts["model_version"], re.ASCII)
    if whole is None or not -(2**63) <= int(whole.group()) < 2**63:
        raise BundleError(
            f"{path}: metadata model_version is {facts['model_version'][:60]!r}, expected a whole number"
        )
    try:
        tasks = json.loads(facts["tasks"]) if len(facts["tasks"]) <= MOST_TASKS else None
    except (ValueError, RecursionError):
        tasks = None
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise BundleError(f"{path}: metadata tasks is {facts['tasks'][:60]!r}, expected a JSON list of names")
    return int(facts["model_version"]), len(tasks)


def _check_outputs(path: Path, declared: Declared, n_tasks: int) -> None:
    vector = _vector(path.name)
    output = vector or "logits"
    port = declared.outputs.get(output)
    if port is None:
        raise BundleError(f"{path} has no output {output!r}; it has {sorted(declared.outputs)[:8]}")
    wrong = port.shape is not None and len(port.shape) != 2
    if port.dtype != "float32" or wrong:
        raise BundleError(f"{path}: output {output!r} is {_shown(port)}, expected float32 of two axes")
    if vector is None and port.shape is not None and port.shape[1] not in (None, n_tasks):
        raise BundleError(
            f"{path}: output 'logits' is {_shown(port)}, expected one column for each of {n_tasks} tasks"
        )


def _check_inputs(path: Path, declared: Declared, encoder: Encoder) -> None:
    given = encoder.inputs
    for name, port in declared.inputs.items():
        if name not in given:
            raise BundleError(f"{path} reads the input {name[:60]!r}; the encoder gives {sorted(given)}")
        dtype, shape = given[name]
        if port.dtype != dtype or not _fits(port.shape, shape, _vector(path.name) == "user_vector"):
            raise BundleError(
                f"{path}: input {name!r} is {_shown(port)}, the encoder gives "
                f"{_shown(Port(dtype, (None, *shape)))}"
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


def _shown(port: Port) -> str:
    sizes = (
        "of unknown shape"
        if port.shape is None
        else ", ".join("N" if size is None else str(size) for size in port.shape)
    )
    return f"{port.dtype} ({sizes})"
