"""A C++ host returns the same ids and the same bits of scores as Python's prerank."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from cpp_programs import run
from onnx import TensorProto, helper, numpy_helper
from small_bundle import publish_small_bundle, write_next_run
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder
from karec.bundle.vector_statistics import VectorStatistics
from karec.config.assemble import build_stage
from karec.config.host_stage import export_stage
from karec.config.scenes import Config
from karec.errors import BundleError, ConfigError
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request
from karec.refresh.next_version import publish_next_version
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower
from karec.times import HOUR_MS

RAW_STAGE = (
    '{ use = "index_rows" }, { use = "has_embedding" }, { use = "inner_product", k = 30 }, '
    '{ use = "freshness", weight = 0.1 }, { use = "dpp", k = 10, diversity = 0.3 }'
)
N, DIM, NOW = 5000, 24, 1_700_000_000_000
DTYPES = {np.dtype(np.int64): 4, np.dtype(np.float32): 10}
HEAD = '{ use = "index_rows" }, { use = "has_embedding" }, '
STAGES = {
    "template": HEAD + '{ use = "inner_product", k = 600 }, { use = "not_shown" }, '
    '{ use = "freshness", weight = 0.05 }, { use = "quota", column = "creator_id", at_most = 5 }, '
    '{ use = "dpp", k = 200, diversity = 0.3, type_weight = 0.05 }',
    "only scores": HEAD + '{ use = "inner_product", k = 100 }',
    "step by step": '{ use = "not_shown" }, ' + HEAD + '{ use = "tone", column = "tone", at_least = 0.3 }, '
    '{ use = "freshness", weight = -3.7e-3, half_life_hours = 0.3 }, { use = "quota", column = "tone", '
    "at_most = 40 }, "
    '{ use = "inner_product", k = 300 }, { use = "freshness", weight = 1, half_life_hours = 7 }',
    "dpp with all settings": HEAD + '{ use = "inner_product", k = 300 }, '
    '{ use = "dpp", name = "last one", diversity = 0.9, ridge = 0.1, window = 7, type_weight = 0.2, '
    'max_per_type = 90, min_per_type = 2, weights = { type = { "1" = 1.3, "2" = 0.0 } } }',
    "mapped vectors and facets": HEAD + '{ use = "inner_product", k = 300 }, { use = "dpp", k = 120, '
    "diversity = 0.8, "
    "similarity = { centre = true, whiten = 0.5, facets = { creator_id = 0.3, tag = 0.2 } } }, "
    '{ use = "dpp", diversity = 0.7, type_weight = 0.1, similarity = { whiten = 1.0, facets = { tag = 0.3 } '
    "} }",
}


def user_tower(path: Path, rng: np.random.Generator, version: int = 3) -> None:
    """Writes user_vector = (numbers·W + ids·V) at unit length. Another output comes before it."""
    weights = {"W": rng.normal(size=(4, DIM)), "V": rng.normal(size=(3, DIM)) / 50}
    nodes = [
        helper.make_node("Cast", ["user_ids"], ["codes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["codes", "V"], ["code_part"]),
        helper.make_node("MatMul", ["user_numbers", "W"], ["number_part"]),
        helper.make_node("Add", ["code_part", "number_part"], ["sum"]),
        helper.make_node("Neg", ["sum"], ["levels"]),
        helper.make_node("LpNormalization", ["sum"], ["user_vector"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "user_tower",
        [
            helper.make_tensor_value_info("user_ids", TensorProto.INT64, ["B", 3]),
            helper.make_tensor_value_info("user_numbers", TensorProto.FLOAT, ["B", 4]),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", DIM])
            for name in ("levels", "user_vector")
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"model_version": str(version), "kind": "user_tower", "tasks": '["click"]'})
    onnx.save(model, path)


@pytest.fixture(scope="module", params=["float16", "int8", "two model versions"])
def platform(request, tmp_path_factory):
    rolling = request.param == "two model versions"
    dtype = "float16" if rolling else request.param
    rng = np.random.default_rng(8)
    folder = tmp_path_factory.mktemp("platform")
    columns = {
        "creator_id": rng.integers(0, 90, N),
        "type": rng.integers(0, 3, N).astype(np.int8),
        "tag": rng.integers(-1, 40, N).astype(np.int16),
        "upload_ms": NOW - rng.integers(-50, 500, N) * HOUR_MS // 7,
        "tone": rng.integers(0, 11, N).astype(np.float32) / 10,
    }
    ids = rng.permutation(4 * N)[:N] - N
    vectors = rng.normal(size=(N, DIM)).astype(np.float32)
    index = ItemIndex.build(
        ids, vectors, dtype, columns, model_version=2 if rolling else 3, rescore=dtype == "int8"
    )
    if rolling:
        new_ids = ids[100::2]
        index.upsert(new_ids, rng.normal(size=(len(new_ids), DIM)).astype(np.float32), model_version=3)
    index.adjust(ids[::7], scale=1.25, offset=-0.125)
    index.block(ids[::11])

    def write(bundle: Path) -> None:
        index.save(bundle / "index.karec")
        VectorStatistics.from_index(index, bundle / "index.karec").save(bundle / "vector_statistics.npz")
        user_tower(bundle / "user_tower.onnx", rng)
        if rolling:
            user_tower(bundle / "user_tower.v0000000002.onnx", rng, 2)

    publish_folder(folder / "bundles", 3, write)
    return folder


@dataclass
class HostRequest:
    request: Request
    candidates: np.ndarray


def requests(n: int) -> list[HostRequest]:
    rng = np.random.default_rng(4)
    host_requests = []
    for i in range(n):
        shown = tuple(rng.integers(-N, 3 * N, rng.integers(0, 40)).tolist())
        features = {
            "user_ids": rng.integers(0, 100, (1, 3)),
            "user_numbers": rng.normal(size=(1, 4)).astype(np.float32),
        }
        request = Request(user_id=i, k=int(rng.integers(1, 60)), time_ms=NOW + i * HOUR_MS, shown=shown)
        candidates = rng.permutation(4 * N)[: rng.integers(0, 4 * N)] - N
        host_requests.append(HostRequest(request.with_features(features), candidates))
    return host_requests


def padded(array: np.ndarray) -> bytes:
    raw = array.tobytes()
    return raw + b"\0" * (-len(raw) % 8)


def encode_requests(
    host_requests: list[HostRequest], vectors: list[dict[int, np.ndarray]] | None, raw: bool = False
) -> bytes:
    """Returns the request file of native/tests/stages/stages_host.cpp.

    It has vectors by version, the inputs of towers or, if ``raw``, the user's id.
    """
    out = [np.int64(len(host_requests)).tobytes()]
    for i, host_request in enumerate(host_requests):
        users = {} if vectors is None else vectors[i]
        vector = np.concatenate([*users.values(), np.empty(0, np.float32)]).astype(np.float32)
        versions = np.array(list(users), np.int64) if len(users) > 1 else np.empty(0, np.int64)
        inputs = host_request.request.features if vectors is None and not raw else {}
        shown = np.array(host_request.request.shown, np.int64)
        counts = len(host_request.candidates), len(shown), len(vector), len(versions), len(inputs)
        sizes = host_request.request.time_ms, host_request.request.k, *counts
        user = [1, host_request.request.user_id] if raw else [0]
        out += [np.array([*sizes, *user], np.int64).tobytes(), padded(host_request.candidates), padded(shown)]
        out += [padded(versions), padded(vector)]
        for name, array in inputs.items():
            out.append(np.int64(len(name)).tobytes())
            out.append(padded(np.frombuffer(name.encode(), np.uint8)))
            out.append(np.array([DTYPES[array.dtype], array.ndim, *array.shape], np.int64).tobytes())
            out.append(padded(array))
    return b"".join(out)


def decode_results(raw: bytes) -> list[tuple[int, bytes, bytes]]:
    out, offset = [], 0
    while offset < len(raw):
        n, unknown = np.frombuffer(raw, np.int64, 2, offset)
        offset += 16
        ids, offset = raw[offset : offset + 8 * n], offset + 8 * n
        scores, offset = raw[offset : offset + 4 * n], offset + (4 * n + 7) // 8 * 8
        out.append((int(unknown), ids, scores))
    return out


def run_host(programs: Path, folder: Path, encoded: bytes, *library: str) -> list[tuple[int, bytes, bytes]]:
    (folder / "requests").write_bytes(encoded)
    command = [
        programs / "stages_host",
        folder / "bundles",
        folder / "stage.json",
        folder / "requests",
        folder / "results",
    ]
    process = subprocess.run([*map(str, command), *library], capture_output=True, text=True, check=False)
    assert process.returncode == 0 and process.stderr == "" and process.stdout == "", process.stderr
    return decode_results((folder / "results").read_bytes())


def configure(folder: Path, steps: str, other_stage: str = "") -> Path:
    text = f'bundle = "bundles"\n[scenes.home]\n[[scenes.home.stages]]\nname = "prerank"\nsteps = [{steps}]\n'
    (folder / "karec.toml").write_text(text)
    return folder / "karec.toml"


@pytest.mark.parametrize("steps", STAGES.values(), ids=STAGES.keys())
@pytest.mark.parametrize("by_tower", [False, True], ids=["ready vector", "user tower"])
def test_cpp_host_returns_the_items_of_python(platform, native_programs, steps, by_tower):
    bundle = Bundle.open(platform / "bundles")
    stage = build_stage(Config.read(configure(platform, steps)), "home", "prerank", bundle)
    export_stage(platform / "karec.toml", "home", "prerank", platform / "stage.json", bundle)
    tower = UserTower(bundle.user_towers)
    expected, vectors, host_requests = [], [], requests(12)
    for host_request in host_requests:
        request = host_request.request.with_view(bundle.index.pinned())
        request = request.with_features(tower.hydrate_request(request))
        versions = request.features["user_vector_versions"].tolist()
        vectors.append(dict(zip(versions, request.features["user_vector"], strict=True)))
        outcome = stage.run(request, Candidates.from_ids(host_request.candidates))
        expected.append((outcome.candidates.ids.tobytes(), outcome.candidates.scores.tobytes()))
    library = []
    if by_tower:
        (path,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
        library = [str(path)]
    encoded = encode_requests(host_requests, None if by_tower else vectors)
    results = run_host(native_programs, platform, encoded, *library)
    assert sum(len(ids) for ids, _ in expected) > 0
    assert [(ids, scores) for _, ids, scores in results] == expected


@pytest.mark.parametrize("version_of_towers", ["one version", "two versions"])
def test_cpp_host_encodes_raw_user_ids_as_python(native_programs, tmp_path, version_of_towers):
    bundle = publish_small_bundle(tmp_path)
    if version_of_towers == "two versions":
        run_folder = write_next_run(bundle, tmp_path / "next")
        bundle = Bundle.open(publish_next_version(run_folder, bundle.snapshot, tmp_path / "bundles"))
    stage = build_stage(Config.read(configure(tmp_path, RAW_STAGE)), "home", "prerank", bundle)
    export_stage(tmp_path / "karec.toml", "home", "prerank", tmp_path / "stage.json", bundle)
    snapshot = bundle.snapshot
    features, tower = UserFeatures(snapshot, bundle.encoder), UserTower(bundle.user_towers)
    host_requests, expected = [], []
    for user in [*np.asarray(snapshot.users.ids).tolist(), 10**15]:
        request = Request(user_id=user, scene="home", time_ms=snapshot.time_ms + user % 1000 * HOUR_MS)
        host_requests.append(HostRequest(request, np.append(snapshot.works.ids, [-7])))
        request = request.with_view(bundle.index.pinned())
        request = request.with_features(features.hydrate_request(request))
        request = request.with_features(tower.hydrate_request(request))
        outcome = stage.run(request, Candidates.from_ids(host_requests[-1].candidates))
        expected.append((outcome.candidates.ids.tobytes(), outcome.candidates.scores.tobytes()))
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    encoded = encode_requests(host_requests, None, raw=True)
    results = run_host(native_programs, tmp_path, encoded, str(library))
    assert [(ids, scores) for _, ids, scores in results] == expected
    assert len(set(expected)) > 3


class StagesOptions(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("trust", ctypes.c_int32),
        ("tower_threads", ctypes.c_int32),
        ("onnxruntime", ctypes.c_char_p),
        ("on_step", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


class TensorSpec(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("rank", ctypes.c_size_t),
        ("shape", ctypes.c_int64 * 8),
        ("name", ctypes.c_char * 128),
        ("dtype", ctypes.c_int32),
    ]


def test_c_host_gets_the_inputs_of_the_tower(platform, cmake, native_programs):
    build = native_programs.parents[1]
    run(cmake, "--build", build, "--target", "karec_shared")
    c = ctypes.CDLL(str(build / "native" / "libkarec.so"))
    bundle = Bundle.open(platform / "bundles")
    export_stage(configure(platform, HEAD[:-2]), "home", "prerank", platform / "stage.json", bundle)
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    options = StagesOptions(ctypes.sizeof(StagesOptions), onnxruntime=str(library).encode())
    ranker, n = ctypes.c_void_p(), ctypes.c_size_t()
    root, stage = str(platform / "bundles").encode(), str(platform / "stage.json").encode()
    c.karec_last_error.restype = ctypes.c_char_p
    status = c.karec_preranker_open(root, stage, ctypes.byref(options), ctypes.byref(ranker))
    assert status == 0, c.karec_last_error()
    specs = (TensorSpec * 3)(*[TensorSpec(ctypes.sizeof(TensorSpec)) for _ in range(3)])
    assert c.karec_preranker_tower_inputs(ranker, specs, ctypes.c_size_t(1), ctypes.byref(n)) == 0
    assert n.value == 2 and specs[0].name == b"user_ids" and specs[1].name == b""
    assert c.karec_preranker_tower_inputs(ranker, specs, ctypes.c_size_t(3), ctypes.byref(n)) == 0
    inputs = {spec.name.decode(): (spec.dtype, spec.shape[: spec.rank]) for spec in specs[:2]}
    assert inputs == {"user_ids": (4, [-1, 3]), "user_numbers": (10, [-1, 4])}
    c.karec_preranker_close(ranker)


def test_export_rejects_steps_that_only_python_has(platform):
    config = configure(platform, HEAD + '{ use = "mmr", k = 5 }')
    with pytest.raises(ConfigError, match="the step 'mmr' runs only in Python; C\\+\\+ hosts have"):
        export_stage(config, "home", "prerank", platform / "stage.json")
    config = configure(platform, '{ use = "not_shown", on_failure = "skip" }')
    with pytest.raises(ConfigError, match="on_failure"):
        export_stage(config, "home", "prerank", platform / "stage.json")
    with pytest.raises(ConfigError, match=r"no stage 'rank' .*; there are \['prerank'\]"):
        build_stage(Config.read(configure(platform, HEAD)), "home", "rank")


def test_cpp_host_rejects_a_tower_of_another_width(native_programs, tmp_path):
    golden = Path(__file__).parent / "golden"

    def write(folder):
        shutil.copy(golden / "bundle-1" / "index.karec", folder)
        write_user_tower(folder / "user_tower.onnx", 7, 5)

    publish_folder(tmp_path / "bundles", 7, write)
    (tmp_path / "requests").write_bytes(encode_requests([], None))
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    places = (
        tmp_path / "bundles",
        golden / "stage-1.json",
        tmp_path / "requests",
        tmp_path / "results",
        library,
    )
    command = [str(place) for place in (native_programs / "stages_host", *places)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode != 0 and "gives 5 dimensions, the index has 4" in process.stderr
    with pytest.raises(
        BundleError, match=r"user_tower\.onnx: user_vector is float32 \(1, 5\), expected float32 \(1, 4\)"
    ):
        Bundle.open(tmp_path / "bundles")


def test_cpp_host_rejects_a_model_version_without_a_tower(native_programs, tmp_path):
    golden = Path(__file__).parent / "golden"
    shutil.copytree(golden / "bundle-1", tmp_path / "before")
    index = ItemIndex.open(tmp_path / "before" / "index.karec")
    index.upsert(index.ids[:1], np.ones((1, 4), np.float32), model_version=9)

    def write(folder):
        index.save(folder / "index.karec")
        write_user_tower(folder / "user_tower.onnx", 9, 4)

    publish_folder(tmp_path / "bundles", 9, write)
    (tmp_path / "requests").write_bytes(encode_requests([], []))
    places = tmp_path / "bundles", golden / "stage-1.json", tmp_path / "requests", tmp_path / "results"
    command = [str(place) for place in (native_programs / "prerank_host", *places)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    missing = r"of model version 7,.* which no user vector meets: user_tower\.v0000000007\S* is missing"
    assert process.returncode != 0 and re.search(missing, process.stderr)
    with pytest.raises(BundleError, match=missing):
        Bundle.open(tmp_path / "bundles")
