"""A few requests replayed from a bundle, in a process of its own: ``python -m karec.bundle.replay FOLDER``.

A model is a program from outside: only running it shows whether it ends, fits in memory and gives what
serving reads. ``karec.bundle.replay_process`` starts this module before a bundle is taken into service. What
it runs, as far as the bundle has the parts:

    encoder.npz, snapshot   user inputs of a few users: with and without a history, and one that nobody knows
    user_tower….onnx        each of them → user_vector (1, D) float32
    item_tower.onnx         a few works, one of them unknown → item_vector (N, D) float32
    ranker….onnx            the same works for each user → logits (N, tasks) float32
    index.karec             D is its width; the 10 nearest works of a user vector
    recall.karec            the same with its own towers, recall_user_tower….onnx and recall_item_tower.onnx

The declared inputs and outputs of a model must fit the encoder, the index and serving; all values must be
finite. If the bundle has no encoder or no snapshot, its host makes the inputs: models are then run once,
with 1 for each number and 0 for each code.

The kernel holds the caps: RLIMIT_CPU for each part, RLIMIT_DATA (Linux 4.7 or newer) for what is allocated
after the imports. Address space is not limited, since mapped files and what ONNX Runtime only reserves cost
no memory. The process opens no connection and writes no file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.bundle import Bundle
from karec.bundle.manifest import MANIFEST, check_files, manifest_of, manifest_text
from karec.bundle.model_structure import check_model, check_towers
from karec.bundle.replay_process import Caps
from karec.bundle.structure import ENCODER, RANKER, SNAPSHOT, check_structure
from karec.bundle.vector_spaces import SPACES, Space, check_version
from karec.catalog.relation import Relation
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.features.user_vectors import VECTOR
from karec.models.onnx_model import OnnxModel

if TYPE_CHECKING:
    from karec.features.encoder import Encoder
    from karec.index import ItemIndex

WORKS = 16  # works that item tower and ranker are run on, beside those of the histories
NEAREST = 10
NICE = 10  # where other processes answer requests meanwhile; lower, a busy machine would let it starve
Tell = Callable[[Mapping[str, Any]], None]
Inputs = Mapping[str, NDArray[Any]]


def replay(bundle: Bundle, tell: Tell) -> None:
    """Opens every model of ``bundle``, checks what it declares, and runs it as serving does.

    ``tell`` gets {"part": NAME} before each part, and for each model what it declares. Raises BundleError, or
    whatever a damaged part raises.
    """
    indices: dict[Space, ItemIndex] = {}
    for space in SPACES:
        if _has(bundle, space.index):
            tell({"part": space.index})
            indices[space] = bundle.index_of(space)
    encoder = None
    if _has(bundle, ENCODER):
        tell({"part": ENCODER})
        encoder = bundle.encoder
    models = _open_models(bundle, encoder, tell)
    for space in SPACES:
        check_towers(bundle.path, space, models, indices.get(space))
    users: list[Inputs] = []
    works: Inputs | None = None
    if encoder is not None and _has(bundle, SNAPSHOT):
        users, works = _encoded(bundle, tell)
    for space in SPACES:
        index = indices.get(space)
        width = None if index is None else index.dim
        vectors = _user_vectors(space, models, users, width, tell)
        if space.item in models:
            tower = models[space.item]
            tell({"part": space.item})
            inputs = _example(tower) if works is None else works
            _checked(tower, "item_vector", inputs, _rows(inputs, tower), width)
        if index is not None and vectors:
            tell({"part": space.index})
            _search(bundle.path / space.index, index, vectors)
    if RANKER in models:
        ranker = models[RANKER]
        tell({"part": RANKER})
        for inputs in _ranker_inputs(bundle, ranker, users, works):
            _checked(ranker, "logits", inputs, _rows(inputs, ranker), len(ranker.tasks))


def _has(bundle: Bundle, name: str) -> bool:
    return (bundle.path / name).exists()


def _open_models(bundle: Bundle, encoder: Encoder | None, tell: Tell) -> dict[str, OnnxModel]:
    """{file name: model} of the towers and the ranker; ``tell`` gets the inputs and outputs of each."""
    files = sorted(path.name for path in bundle.path.iterdir())
    towers = [name for space in SPACES for name in (space.item, space.own, *space.others_of(files))]
    models = {}
    for name in (name for name in (*towers, RANKER) if name in files):
        tell({"part": name})
        model = models[name] = OnnxModel(bundle.path / name)
        check_version(model.path, model.model_version, bundle.model_version)
        check_model(model, encoder)
        inputs, outputs = (
            {name[:60]: str(port) for name, port in ports.items()}
            for ports in (model.input_ports, model.output_ports)
        )
        tell({"model": name, "inputs": inputs, "outputs": outputs})
    return models


def _encoded(bundle: Bundle, tell: Tell) -> tuple[list[Inputs], Inputs]:
    """(user inputs of a few users and scenes, item inputs of a few works), of an excerpt of the snapshot."""
    tell({"part": SNAPSHOT})
    rows = _few_users(bundle.snapshot)
    snapshot = _excerpt(bundle.snapshot, rows)
    tell({"part": ENCODER})
    unknown = next(user for user in count(-1, -1) if snapshot.users.lookup(np.array([user]))[0] < 0)
    ids = [*np.asarray(snapshot.users.ids).tolist(), unknown]
    scenes = range(-1, min(snapshot.n_scenes, 1))  # one that has no name, and the first
    users = [
        bundle.encoder.encode_user(snapshot, user, snapshot.time_ms, scene)
        for user in ids
        for scene in scenes
    ]
    works = bundle.encoder.encode_items(
        snapshot, np.arange(-1, min(len(snapshot.works), WORKS)), snapshot.time_ms
    )
    for inputs in (*users, works):
        for name, values in inputs.items():
            if not np.isfinite(values).all():
                raise BundleError(
                    f"{bundle.path / ENCODER}: its input {name!r} is not finite over this snapshot"
                )
    return list(users), works


def _few_users(snapshot: Snapshot) -> NDArray[Any]:
    """Rows of at most three users: with the longest history, with the shortest, and the last one."""
    n = len(snapshot.users)
    if n == 0:
        return np.empty(0, np.int64)
    history = snapshot.relations.get("history")
    lengths = np.zeros(n, np.int64) if history is None else np.diff(history.indptr)
    return np.unique([int(lengths.argmax()), int(lengths.argmin()), n - 1])


def _excerpt(snapshot: Snapshot, users: NDArray[Any]) -> Snapshot:
    """The snapshot of these users alone, with the works of their lists and a few others: its cost is
    theirs."""
    relations = {name: _lists(relation, users) for name, relation in snapshot.relations.items()}
    listed = [
        snapshot.works.lookup(relations[name].values) for name in ("history", "skipped") if name in relations
    ]
    first = np.arange(min(WORKS, len(snapshot.works)))
    works = np.unique(np.concatenate([first, *listed]))
    scenes = np.arange(snapshot.n_scenes)
    counters = snapshot.user_scene_counters
    if counters is not None:
        rows = (users[:, None] * snapshot.n_scenes + scenes).ravel()
        counters = {name: np.asarray(column)[rows] for name, column in counters.items()}
    return replace(
        snapshot,
        works=snapshot.works.take(works[works >= 0]),
        users=snapshot.users.take(users),
        relations=relations,
        user_scene_counters=counters,
    )


def _lists(relation: Relation, rows: NDArray[Any]) -> Relation:
    indptr = np.concatenate([[0], np.cumsum(np.diff(relation.indptr)[rows])])
    return Relation(
        indptr, np.concatenate([np.empty(0, np.int64), *(relation.row_values(int(row)) for row in rows)])
    )


def _user_vectors(
    space: Space, models: Mapping[str, OnnxModel], users: list[Inputs], width: int | None, tell: Tell
) -> dict[int, NDArray[Any]]:
    """{model version: a user vector (D,)}, of each user tower of ``space``."""
    vectors = {}
    for name in (space.own, *space.others_of(models)):
        if name in models:
            tower = models[name]
            tell({"part": name})
            for inputs in users or [_example(tower)]:
                (vectors[tower.model_version],) = _checked(tower, VECTOR, inputs, 1, width)
    return vectors


def _ranker_inputs(
    bundle: Bundle, ranker: OnnxModel, users: list[Inputs], works: Inputs | None
) -> Iterator[Inputs]:
    """What the step ``ranker`` gives ``ranker``."""
    if works is None:
        yield _example(ranker)
        return
    for user in users:
        inputs = {**works, **bundle.encoder.encode_crosses(user, works)}
        if "dense" in ranker.inputs:
            inputs["dense"] = bundle.encoder.dense({**user, **inputs})
        yield {**user, **inputs}


def _example(model: OnnxModel) -> dict[str, NDArray[Any]]:
    """One row of each input of ``model``: ones where numbers stand, 0 where codes stand."""
    inputs = {}
    for name, port in model.input_ports.items():
        dtype = np.dtype("str" if port.dtype == "string" else port.dtype)
        full = np.zeros if dtype.kind in "iu" else np.ones
        inputs[name] = full([1 if size is None else size for size in port.shape or ()], dtype)
    return inputs


def _rows(inputs: Inputs, model: OnnxModel) -> int:
    """How many rows the model answers: those of its longest input."""
    return max((len(inputs[name]) for name in model.inputs if name in inputs), default=1)


def _checked(model: OnnxModel, output: str, inputs: Inputs, rows: int, width: int | None) -> NDArray[Any]:
    """``output`` of ``model``, which has it: (rows, width), finite; any width where None."""
    (values,) = model.run(inputs, output)
    if values.ndim != 2 or len(values) != rows or (width is not None and values.shape[1] != width):
        expected = (rows, "any" if width is None else width)
        raise BundleError(f"{model.path}: {output} has the shape {values.shape}, expected {expected}")
    if not np.isfinite(values).all():
        raise BundleError(f"{model.path}: {output} is not finite for a replayed request")
    return np.asarray(values)


def _search(path: Path, index: ItemIndex, vectors: Mapping[int, NDArray[Any]]) -> None:
    """The nearest works of the user vectors, each version's rows with its own."""
    asked = {version: vectors[version] for version in index.model_versions if version in vectors}
    found = index.search(asked or vectors, NEAREST)
    if not np.isfinite(found.scores).all():
        raise BundleError(f"{path}: a work's score is not finite for a replayed request")


def _verify(bundle: Bundle, digest: str) -> None:
    """BundleError unless the files are those of the manifest with the SHA-256 ``digest``, and hold what they
    should."""
    text = manifest_text(bundle.path)
    if hashlib.sha256(text).hexdigest() != digest:
        raise BundleError(f"{bundle.path / MANIFEST} has changed while the bundle was opened")
    files = manifest_of(bundle.path, text)["files"]
    check_files(bundle.path, files)
    check_structure(bundle, files.keys())


def _hold_memory(caps: Caps) -> None:
    """What is allocated from here on stays below ``caps.bytes``; a crash writes no core file."""
    with open("/proc/self/status") as file:
        (used,) = [int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:")]
    resource.setrlimit(resource.RLIMIT_DATA, (used + caps.bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _hold_time(caps: Caps) -> None:
    """From here on ``caps.seconds`` of processor time, rounded up to whole seconds of the process: then
    SIGXCPU."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used + caps.seconds)
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def main(arguments: list[str]) -> int:
    """``FOLDER [SECONDS BYTES DESCRIPTOR [SHA256]]``: replay within the caps; a line of JSON for each that
    happens. With the SHA-256 of its manifest, the bundle is verified first, as ``Bundle.open`` does.

    {"ready": true}, {"part": NAME} as a part begins, {"model": NAME, "inputs": {NAME: DTYPE AND SHAPE},
    "outputs": …} of an opened model, then {"done": true} or {"refused": MESSAGE}. Lines go to the file
    descriptor, else to the standard output. Exit status 0 when done, 1 when refused.
    """
    folder = Path(arguments[0]).resolve()
    caps = Caps(float(arguments[1]), int(arguments[2])) if len(arguments) > 1 else Caps.of(folder)
    descriptor = int(arguments[3]) if len(arguments) > 1 else 1
    digest = arguments[4] if len(arguments) > 4 else None
    part = ""

    def tell(event: Mapping[str, Any]) -> None:
        nonlocal part
        os.write(descriptor, json.dumps(event).encode() + b"\n")
        if "part" in event:
            part = event["part"]
            _hold_time(caps)

    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whatever the parent ignores or blocks
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    if digest is not None:
        os.nice(NICE)
    _hold_memory(caps)
    tell({"ready": True})
    try:
        bundle = Bundle.open(folder, verify=False)
        if digest is not None:
            tell({"part": ""})
            _verify(bundle, digest)
        if digest is None or any(folder.glob("*.onnx")):
            replay(bundle, tell)
    except BundleError as error:
        tell({"refused": str(error)})
        return 1
    except Exception as error:  # a damaged part may raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())
        tell({"refused": f"{folder / part} fails in a replayed request: {why}"})
        return 1
    tell({"done": True})
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # what a model leaves behind is not torn down
