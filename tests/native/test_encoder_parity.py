"""A C++ host encodes users to the same bits as Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from golden_platform import golden_encoder, golden_snapshot
from small_bundle import publish_small_bundle

from karec.bundle import Bundle, publish_folder
from karec.catalog.relation import Relation
from karec.features.encoder import USER_SIDE
from karec.features.online_inputs import encode_online_user
from karec.index import ItemIndex
from karec.online.read_state import UserState
from karec.times import HOUR_MS

LISTS = ("history", "skipped", "follows", "friends")
DTYPES = {"int64": np.int64, "float32": np.float32}


@pytest.fixture(scope="module", params=["small", "golden"])
def bundle(request, tmp_path_factory):
    """Bundles of 12 users and 40 works in one scene, and of 3 users and 4 works in two scenes."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "small":
        return publish_small_bundle(root)

    def write(folder: Path) -> None:
        golden_snapshot().save(folder / "snapshot")
        golden_encoder().save(folder / "encoder.npz")
        ids = golden_snapshot().works.ids
        ItemIndex.build(ids, np.eye(len(ids), dtype=np.float32), model_version=1).save(folder / "index.karec")

    publish_folder(root / "bundles", 1, write)
    return Bundle.open(root / "bundles")


def padded(array: np.ndarray) -> bytes:
    raw = np.ascontiguousarray(array).tobytes()
    return raw + b"\0" * (-len(raw) % 8)


def encode_text(text: str) -> bytes:
    return np.int64(len(text.encode())).tobytes() + padded(np.frombuffer(text.encode(), np.uint8))


def encode_request(user_id, time_ms, scene, lists, names=None, counters=None, in_scene=None) -> bytes:
    """Returns a request in the format of native/tests/features/encoder_host.cpp."""
    out = [np.array([user_id, time_ms], np.int64).tobytes(), encode_text(scene)]
    for name in LISTS:
        ids = lists.get(name)
        out.append(np.int64(-1 if ids is None else len(ids)).tobytes())
        out.append(b"" if ids is None else padded(np.asarray(ids, np.int64)))
    out.append(np.int64(-1 if names is None else len(names)).tobytes())
    if names is not None:
        out += [*map(encode_text, names), padded(np.float32(counters)), padded(np.float32(in_scene))]
    return b"".join(out)


def run_host(
    programs: Path, bundle: Bundle, requests: list[bytes], folder: Path
) -> list[dict[str, np.ndarray]]:
    (folder / "requests").write_bytes(np.int64(len(requests)).tobytes() + b"".join(requests))
    command = [programs / "encoder_host", bundle.path, folder / "requests", folder / "inputs"]
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    outputs = [line.split() for line in process.stdout.splitlines()]
    raw, offset, inputs = (folder / "inputs").read_bytes(), 0, []
    for _ in requests:
        inputs.append({})
        for name, dtype, *shape in outputs:
            sizes = [int(size) for size in shape]
            array = np.frombuffer(raw, DTYPES[dtype], int(np.prod(sizes)), offset).reshape(sizes)
            inputs[-1][name] = array
            offset += array.nbytes
    assert offset == len(raw)
    return inputs


def assert_same_bits(inputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert inputs.keys() == set(USER_SIDE)
    for name, value in inputs.items():
        assert value.dtype == expected[name].dtype and value.shape == expected[name].shape, name
        assert value.tobytes() == np.ascontiguousarray(expected[name]).tobytes(), name


def moments(snapshot) -> list[int]:
    return [
        snapshot.time_ms,
        snapshot.time_ms + 1,
        snapshot.time_ms - 100 * 24 * HOUR_MS,
        0,
        -7 * HOUR_MS - 1,
    ]


def test_cpp_host_encodes_every_user_as_python(bundle, native_programs, tmp_path):
    snapshot, encoder = bundle.snapshot, bundle.encoder
    scenes = [*snapshot.labels["scene"], "no such scene"]
    users = [*np.asarray(snapshot.users.ids).tolist(), -1, 10**15]
    requests = [(user, time, scene) for user in users for time in moments(snapshot) for scene in scenes]
    encoded = [encode_request(*request, {}) for request in requests]
    results = run_host(native_programs, bundle, encoded, tmp_path)
    for (user, time, scene), inputs in zip(requests, results, strict=True):
        code = scenes.index(scene) if scene in snapshot.labels["scene"] else -1
        assert_same_bits(inputs, encoder.encode_user(snapshot, user, time, code))
    for name in ("history", "user_numbers"):
        assert any(inputs[name].any() for inputs in results)


@pytest.mark.parametrize("seed", range(3))
def test_cpp_host_encodes_given_lists_and_counters_as_python(bundle, native_programs, tmp_path, seed):
    """Python reads them from an online store. Unknown ids keep their places."""
    rng = np.random.default_rng(seed)
    snapshot, encoder = bundle.snapshot, bundle.encoder
    names = list(
        dict.fromkeys((*encoder.users.counters, *encoder.scene_counters.counters, "count_of_nothing"))
    )
    requests, expected = [], []
    for user in [*np.asarray(snapshot.users.ids).tolist(), 10**15]:
        lists = {name: ids_of(name, snapshot, rng) for name in LISTS if rng.random() < 0.8}
        counters = rng.integers(0, 500, (1 + snapshot.n_scenes, len(names))).astype(np.float32)
        scene = int(rng.integers(0, snapshot.n_scenes))
        state = UserState(
            lists={name: Relation(np.array([0, len(ids)]), ids) for name, ids in lists.items()},
            counters=counters[0],
            scene_counters=counters[1:],
            recent_shown=np.empty(0, np.int64),
            earlier_filters=np.empty((0, 0), np.uint64),
        )
        time = snapshot.time_ms + int(rng.integers(0, 10**9))
        requests.append(
            encode_request(
                *(user, time, snapshot.labels["scene"][scene]), lists, names, counters[0], counters[1 + scene]
            )
        )
        expected.append(encode_online_user(encoder, snapshot, state, names, user, time, scene))
    results = run_host(native_programs, bundle, requests, tmp_path)
    for inputs, expected_inputs in zip(results, expected, strict=True):
        assert_same_bits(inputs, expected_inputs)


def ids_of(name: str, snapshot, rng) -> np.ndarray:
    works = snapshot.works
    known_ids = np.asarray(works.ids if name in ("history", "skipped") else works["creator_id"])
    ids = rng.choice(known_ids, rng.integers(0, 250))
    return np.where(rng.random(len(ids)) < 0.2, rng.integers(-5, 10**12, len(ids)), ids)
