"""Runs the models of a bundle in a process of its own: ``python -m karec.bundle.smoke_child FOLDER``.

A model is untrusted code: only a run shows if it ends, fits in memory and returns the outputs that serving
reads. For the parts that the bundle has, the run computes:

    encoder.npz, snapshot   inputs of a few users: the longest and the shortest history, and an unknown user
    user_tower….onnx        each user → user_vector (1, D) float32
    item_tower.onnx         a few items, one of them unknown → item_vector (N, D) float32
    ranker.onnx             these items for each user → logits (N, tasks) float32
    index.karec             the 10 nearest items of a user vector; D is the width of the index

Outputs must be finite. Without an encoder or a snapshot the host makes the inputs of models, so here they run
once, with 1 for each number and 0 for each code.

The operating system enforces the limits: RLIMIT_CPU, and RLIMIT_DATA for memory allocated after the imports.
The address space has no limit, since mapped and reserved memory is not used memory. The process opens
no connection and writes no file.
"""

from __future__ import annotations

import hashlib
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.bundle import Bundle
from karec.bundle.manifest import MANIFEST, check_files, manifest_of, manifest_text
from karec.bundle.smoke import Limits
from karec.bundle.tower_files import (
    CROSS_WEIGHTS,
    INDEX,
    ITEM_TOWER,
    OTHER_USER_TOWERS,
    USER_TOWER,
    check_version,
)
from karec.bundle.verify import ENCODER, SNAPSHOT, check_contents
from karec.errors import BundleError, one_line
from karec.features.user_vectors import VECTOR, make_tables
from karec.models.onnx_model import OnnxModel
from karec.models.row_sums import sums_path
from karec.models.trees import trees_path

N_ITEMS = 16
N_NEAREST = 10
NICENESS = 10  # requests have priority; with a larger value the child would get no time on a busy machine
RANKER = "ranker.onnx"
Inputs = Mapping[str, NDArray[Any]]


def run_models(bundle: Bundle, report_part: Callable[[str], None]) -> None:
    """Runs every model of ``bundle`` as serving does. Raises BundleError, or any error of a damaged part."""
    users: list[Inputs] = []
    items: Inputs | None = None
    if (bundle.path / ENCODER).exists() and (bundle.path / SNAPSHOT).exists():
        report_part(ENCODER)
        users, items = _encode_sample(bundle)
    _run_towers(bundle, users, items, report_part)
    if (bundle.path / RANKER).exists():
        report_part(RANKER)
        ranker = _open_model(bundle, RANKER)
        pairs = [_pair(bundle, ranker, user, items) for user in users] if items is not None else []
        for inputs in pairs or [_make_example(ranker)]:
            _run(ranker, "logits", inputs, len(ranker.tasks))


def _encode_sample(bundle: Bundle) -> tuple[list[Inputs], Inputs]:
    """Returns inputs of at most four users in two scenes, and the inputs of some items, the first unknown."""
    snapshot = bundle.snapshot
    ids = np.asarray(snapshot.users.ids)
    history = snapshot.relations.get("history")
    if len(ids):
        lengths = np.zeros(len(ids), np.int64) if history is None else np.diff(history.indptr)
        ids = ids[np.unique([int(lengths.argmax()), int(lengths.argmin()), len(ids) - 1])]
    unknown = next(user for user in count(-1, -1) if snapshot.users.row(user) < 0)
    users = [
        bundle.encoder.encode_user(snapshot, user, snapshot.time_ms, scene)
        for user in (*ids.tolist(), unknown)
        for scene in range(-1, min(snapshot.n_scenes, 1))  # an unknown scene, and the first
    ]
    rows = np.arange(-1, min(len(snapshot.works), N_ITEMS))
    return list(users), bundle.encoder.encode_items(snapshot, rows, snapshot.time_ms)


def _run_towers(
    bundle: Bundle, users: list[Inputs], items: Inputs | None, report_part: Callable[[str], None]
) -> None:
    index = None
    if (bundle.path / INDEX).exists():
        report_part(INDEX)
        index = bundle.index
    width = None if index is None else index.dim
    if (bundle.path / ITEM_TOWER).exists():
        report_part(ITEM_TOWER)
        tower = _open_model(bundle, ITEM_TOWER)
        width = _run(tower, "item_vector", items or _make_example(tower), width).shape[1]
    user_towers = sorted(path.name for path in bundle.path.glob(OTHER_USER_TOWERS))
    if (bundle.path / USER_TOWER).exists():
        user_towers.insert(0, USER_TOWER)
    vectors = {}
    for name in user_towers:
        report_part(name)
        tower = _open_model(bundle, name)
        for inputs in users or [_make_example(tower)]:
            (vectors[tower.model_version],) = _run(tower, VECTOR, inputs, width)
        width = len(vectors[tower.model_version])
    if index is None or not vectors:
        return
    report_part(INDEX)
    queries = {version: vectors[version] for version in index.model_versions if version in vectors} or vectors
    tables = None
    if users and (bundle.path / CROSS_WEIGHTS).exists():
        tables = make_tables(bundle.cross_tables, queries, users[0])
    if not np.isfinite(index.search(queries, N_NEAREST, tables=tables).scores).all():
        raise BundleError(f"{bundle.path / INDEX}: a score is not finite in a smoke run")


def _open_model(bundle: Bundle, name: str) -> OnnxModel:
    model = OnnxModel(bundle.path / name)
    check_version(model.path, model.model_version, bundle.model_version)
    used = {trees_path(model.path): model.trees, sums_path(model.path): model.row_sums_bytes}
    for path, is_used in used.items():
        if path.exists() and not is_used:
            raise BundleError(
                f"{path} was made from another file than {name}. Remove it from the run, and publish again"
            )
    return model


def _pair(bundle: Bundle, ranker: OnnxModel, user: Inputs, items: Inputs) -> Inputs:
    """Returns the inputs that the step ``ranker`` makes for one user and these items."""
    inputs = {**items, **bundle.encoder.encode_crosses(user, items)}
    if "dense" in ranker.inputs:
        inputs["dense"] = bundle.encoder.dense({**user, **inputs})
    return {**user, **inputs}


def _make_example(model: OnnxModel) -> Inputs:
    """Returns one row of each input of ``model``: 1 for numbers, 0 for codes."""
    inputs = {}
    for name, port in model.input_ports.items():
        dtype = np.dtype("str" if port.dtype == "string" else port.dtype)
        shape = [1 if size is None else size for size in port.shape or ()]
        inputs[name] = np.full(shape, 0 if dtype.kind in "iu" else 1, dtype)
    return inputs


def _run(model: OnnxModel, output: str, inputs: Inputs, width: int | None) -> NDArray[Any]:
    """Returns ``output`` of ``model``: (N, width) float32, finite. N: rows of the longest input."""
    (values,) = model.run(inputs, output)
    n_rows = max((len(inputs[name]) for name in model.inputs), default=1)
    shape = (n_rows, width if width is not None or values.ndim != 2 else values.shape[1])
    if values.dtype != np.float32 or values.shape != shape:
        raise BundleError(
            f"{model.path}: {output} is {values.dtype} {values.shape}, expected float32 {shape}"
        )
    if not np.isfinite(values).all():
        raise BundleError(f"{model.path}: {output} is not finite in a smoke run")
    return np.asarray(values)


def _verify(bundle: Bundle, digest: str) -> None:
    """Verifies files and contents. ``digest``: SHA-256 of the manifest that the parent read."""
    text = manifest_text(bundle.path)
    if hashlib.sha256(text).hexdigest() != digest:
        raise BundleError(f"{bundle.path / MANIFEST} has changed while the bundle was opened")
    check_files(bundle.path, manifest_of(bundle.path, text)["files"])
    check_contents(bundle)


def _set_limits(limits: Limits) -> None:
    """Limits the further processor time (SIGXCPU) and memory of this process, and prevents core files."""
    with open("/proc/self/status") as file:
        (used_bytes,) = [int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:")]
    used_seconds = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for kind, value in (
        (resource.RLIMIT_DATA, used_bytes + limits.memory_bytes),
        (resource.RLIMIT_CPU, math.ceil(used_seconds + limits.cpu_seconds)),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main(arguments: list[str]) -> int:
    """Runs ``FOLDER [SECONDS BYTES [SHA256]]`` within the limits. Returns 0, or 1 if the bundle is refused.

    With the SHA-256 of its manifest, the bundle is verified first, as ``Bundle.open`` does. Lines on the
    standard output: "ready", "part NAME" as a part begins, then "done" or "refused MESSAGE".
    """
    folder = Path(arguments[0]).resolve()
    limits = (
        Limits(float(arguments[1]), int(arguments[2])) if len(arguments) > 1 else Limits.from_folder(folder)
    )
    output = os.dup(1)
    os.dup2(2, 1)  # output of a library must not mix with the reports
    part = ""

    def report(line: str) -> None:
        os.write(output, f"{one_line(line)}\n".encode(errors="replace"))

    def report_part(name: str) -> None:
        nonlocal part
        part = name
        report(f"part {name}")

    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the parent may block signals
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    if len(arguments) > 3:
        os.nice(NICENESS)
    _set_limits(limits)
    report("ready")
    try:
        bundle = Bundle.open(folder, verify=False)
        if len(arguments) > 3:
            _verify(bundle, arguments[3])
        run_models(bundle, report_part)
    except BundleError as error:
        report(f"refused {error}")
        return 1
    except Exception as error:  # a damaged part may raise anything
        report(f"refused {folder / part} fails in a smoke run: {type(error).__name__}: {error}")
        return 1
    report("done")
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # skips destructors of models, which may hang
