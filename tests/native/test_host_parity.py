"""C++ and C hosts return the same ids and the same bits of scores as Python's stages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from damage import reseal
from onnx import helper
from random_row_sums import make_table, write_sums
from random_trees import random_tree, tree_node, write_model
from small_bundle import TASKS, publish_small_bundle, write_next_run
from small_bundle import write_model as write_linear_model
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder
from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.bundle.vector_statistics import VectorStatistics
from karec.config.assemble import build_stage
from karec.config.host_stage import export_stages
from karec.config.scenes import Config
from karec.errors import BundleError, ConfigError
from karec.index import ItemIndex
from karec.index.code_tables import CodeTable, QueryTables
from karec.learn.export.trees import export_trees
from karec.pipeline.stage import Stage
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
HEAD = '{ use = "index_rows" }, { use = "has_embedding" }, '
STAGES = {
    "template": HEAD + '{ use = "inner_product", k = 600 }, { use = "not_shown" }, '
    '{ use = "freshness", weight = 0.05 }, { use = "quota", column = "creator_id", at_most = 5 }, '
    '{ use = "dpp", k = 200, diversity = 0.3, type_weight = 0.05 }',
    "quotas in the cut": HEAD
    + '{ use = "inner_product", k = 400, at_most = { creator_id = 5, tag = 30 }, min_items = 100 }, '
    '{ use = "not_shown" }',
    "more searches for the quotas": HEAD + '{ use = "inner_product", k = 100, at_most = { tag = 3 } }',
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

    publish_folder(folder / "bundles", 3, write)
    return folder


@dataclass
class HostRequest:
    request: Request
    candidates: np.ndarray
    vectors: dict[int, np.ndarray] = field(default_factory=dict)  # by model version; empty: the user's id
    tables: tuple[QueryTables, ...] = ()  # of each vector, if towers are wide


def requests(n: int, versions: tuple[int, ...]) -> list[HostRequest]:
    rng = np.random.default_rng(4)
    host_requests = []
    for i in range(n):
        shown = tuple(rng.integers(-N, 3 * N, rng.integers(0, 40)).tolist())
        vectors = {version: rng.normal(size=DIM).astype(np.float32) for version in versions}
        request = Request(user_id=i, k=int(rng.integers(1, 60)), time_ms=NOW + i * HOUR_MS, shown=shown)
        candidates = rng.permutation(4 * N)[: rng.integers(0, 4 * N)] - N
        host_requests.append(HostRequest(request, candidates, vectors))
    return host_requests


def padded(array: np.ndarray) -> bytes:
    raw = array.tobytes()
    return raw + b"\0" * (-len(raw) % 8)


def encode_requests(host_requests: list[HostRequest]) -> bytes:
    """Returns the request file of native/tests/stages/stages_host.cpp."""
    out = [np.int64(len(host_requests)).tobytes()]
    for host_request in host_requests:
        request, vectors = host_request.request, host_request.vectors
        vector = np.concatenate([*vectors.values(), np.empty(0, np.float32)]).astype(np.float32)
        versions = np.array(list(vectors), np.int64) if len(vectors) > 1 else np.empty(0, np.int64)
        shown = np.array(request.shown, np.int64)
        n_tables = len(host_request.tables[0]) if host_request.tables else 0
        counts = len(host_request.candidates), len(shown), len(vector), len(versions), n_tables
        sizes = request.time_ms, request.k, not vectors, request.user_id, *counts
        out += [np.array(sizes, np.int64).tobytes(), padded(host_request.candidates), padded(shown)]
        out += [padded(versions), padded(vector)]
        for table in (table for tables in host_request.tables for table in tables.values()):
            out += [np.int64(len(table.codes)).tobytes(), padded(np.float32(table.other))]
            out += [padded(table.codes), padded(table.values)]
    return b"".join(out)


def decode_pages(raw: bytes) -> list[tuple[bytes, bytes, int]]:
    """Returns ids, scores and the number of broken rules of each page."""
    out, offset = [], 0
    while offset < len(raw):
        n, _, broken = np.frombuffer(raw, np.int64, 3, offset).tolist()
        offset += 24
        ids, offset = raw[offset : offset + 8 * n], offset + 8 * n
        scores, offset = raw[offset : offset + 4 * n], offset + (4 * n + 7) // 8 * 8
        out.append((ids, scores, broken))
    return out


def onnx_runtime() -> str:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    return str(library)


def start_host(
    programs: Path, folder: Path, host_requests: list[HostRequest], *library: str
) -> subprocess.CompletedProcess[str]:
    (folder / "requests").write_bytes(encode_requests(host_requests))
    names = folder / "bundles", folder / "stage.json", folder / "requests", folder / "pages"
    command = [programs / "stages_host", *names, *library]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def run_host(
    programs: Path, folder: Path, host_requests: list[HostRequest], *library: str
) -> list[tuple[bytes, bytes, int]]:
    process = start_host(programs, folder, host_requests, *library)
    assert process.returncode == 0 and process.stderr == "" and process.stdout == "", process.stderr
    return decode_pages((folder / "pages").read_bytes())


def with_user_vector(bundle: Bundle, host_request: HostRequest) -> Request:
    request = host_request.request.with_view(bundle.index.pinned())
    if host_request.vectors:
        features = {
            "user_vector": np.stack([*host_request.vectors.values()]),
            "user_vector_versions": np.array([*host_request.vectors]),
        }
        if host_request.tables:
            features["user_tables"] = np.array(host_request.tables, object)
        return request.with_features(features)
    tower = UserTower(bundle.user_towers, bundle.cross_tables)
    for step in (UserFeatures(bundle.snapshot, bundle.encoder), tower):
        request = request.with_features(step.hydrate_request(request))
    return request


def run_python(bundle: Bundle, stages: list[Stage], host_request: HostRequest) -> tuple[bytes, bytes, int]:
    """Returns ids, scores and the number of broken rules of the page of Python's stages."""
    request = with_user_vector(bundle, host_request)
    candidates, broken = Candidates.from_ids(host_request.candidates), 0
    for stage in stages:
        outcome = stage.run(request, candidates)
        candidates = outcome.candidates
        broken += sum(trace.notes.get("violations", 0) for trace in outcome.steps)
    return candidates.ids.tobytes(), candidates.scores.tobytes(), broken


def configure(folder: Path, steps: str, other_stage: str = "") -> Path:
    text = f'bundle = "bundles"\n[scenes.home]\n[[scenes.home.stages]]\nname = "prerank"\nsteps = [{steps}]\n'
    (folder / "karec.toml").write_text(text)
    return folder / "karec.toml"


@pytest.mark.parametrize("steps", STAGES.values(), ids=STAGES.keys())
def test_cpp_host_returns_the_items_of_python(platform, native_programs, steps):
    bundle = Bundle.open(platform / "bundles")
    stage = build_stage(Config.read(configure(platform, steps)), "home", "prerank", bundle)
    export_stages(platform / "karec.toml", "home", ["prerank"], platform / "stage.json", bundle)
    host_requests = requests(12, bundle.index.model_versions)
    expected = [run_python(bundle, [stage], host_request) for host_request in host_requests]
    assert sum(len(ids) for ids, _, _ in expected) > 0
    assert run_host(native_programs, platform, host_requests) == expected


def user_requests(bundle: Bundle, k: int = 10) -> list[HostRequest]:
    """Returns a request of each user and of an unknown one. The last candidate is unknown too."""
    snapshot = bundle.snapshot
    rng = np.random.default_rng(7)
    host_requests = []
    for user in [*np.asarray(snapshot.users.ids).tolist(), 10**15]:
        time_ms = snapshot.time_ms + user % 1000 * HOUR_MS
        shown = tuple(rng.choice(snapshot.works.ids, 3).tolist())
        request = Request(user_id=user, k=k, scene="home", time_ms=time_ms, shown=shown)
        candidates = np.append(rng.permutation(snapshot.works.ids), [-7])
        host_requests.append(HostRequest(request, candidates))
    return host_requests


@pytest.mark.parametrize("is_wide", [False, True], ids=["vectors", "wide towers"])
@pytest.mark.parametrize("version_of_towers", ["one version", "two versions"])
def test_cpp_host_encodes_raw_user_ids_as_python(native_programs, tmp_path, version_of_towers, is_wide):
    bundle = publish_small_bundle(tmp_path, is_wide=is_wide)
    if version_of_towers == "two versions":
        run_folder = write_next_run(bundle, tmp_path / "next")
        bundle = Bundle.open(publish_next_version(run_folder, bundle.snapshot, tmp_path / "bundles"))
    stage = build_stage(Config.read(configure(tmp_path, RAW_STAGE)), "home", "prerank", bundle)
    export_stages(tmp_path / "karec.toml", "home", ["prerank"], tmp_path / "stage.json", bundle)
    host_requests = user_requests(bundle)
    expected = [run_python(bundle, [stage], host_request) for host_request in host_requests]
    assert run_host(native_programs, tmp_path, host_requests, onnx_runtime()) == expected
    assert len(set(expected)) > 3
    own_vectors = [replace_user(bundle, host_request) for host_request in host_requests]
    assert run_host(native_programs, tmp_path, own_vectors) == expected
    changed = [change_query(host_request) for host_request in own_vectors]
    expected = [run_python(bundle, [stage], host_request) for host_request in changed]
    assert run_host(native_programs, tmp_path, changed) == expected


def replace_user(bundle: Bundle, host_request: HostRequest) -> HostRequest:
    """Returns the request with the vectors and tables that the towers compute in place of the user's id."""
    request = with_user_vector(bundle, host_request)
    versions = request.features["user_vector_versions"].tolist()
    tables = request.features.get("user_tables", ())
    ordered = tuple({name: given[name] for name in bundle.index.code_columns} for given in tables)
    return replace(
        host_request,
        vectors=dict(zip(versions, request.features["user_vector"], strict=True)),
        tables=ordered,
    )


def change_query(host_request: HostRequest) -> HostRequest:
    """Returns the request with random vectors and random tables, some without codes."""
    rng = np.random.default_rng(host_request.request.user_id % 1000)
    vectors = {version: rng.normal(size=8).astype(np.float32) for version in host_request.vectors}
    tables = []
    for given in host_request.tables:
        codes = {
            name: np.unique(rng.integers(0, 40, rng.integers(0, 30)).astype(np.uint32)) for name in given
        }
        tables.append(
            {
                name: CodeTable(
                    codes[name], rng.normal(size=len(codes[name])).astype(np.float32), rng.normal()
                )
                for name in given
            }
        )
    return replace(host_request, vectors=vectors, tables=tuple(tables))


@pytest.mark.parametrize("cause", ["weights", "index", "vector"])
def test_cpp_host_refuses_wide_towers_without_tables(native_programs, tmp_path, cause):
    bundle = publish_small_bundle(tmp_path, is_wide=True)
    export_stages(configure(tmp_path, RAW_STAGE), "home", ["prerank"], tmp_path / "stage.json", bundle)
    if cause == "weights":
        weights = bundle.cross_tables[1].weights
        replace(weights, low=weights.low * np.nan).save(bundle.path / CROSS_WEIGHTS)
        message = "cross_weights.npz: low, per_width or weights have another shape or a number not finite"
    elif cause == "index":
        index = ItemIndex.open(bundle.path / "index.karec", copy=True)
        vectors = index.embeddings(index.lookup(index.ids))
        ItemIndex.build(index.ids, vectors, columns=index.columns, model_version=1).save(
            bundle.path / "index.karec"
        )
        message = "is of no code column. Publish the run again"
    else:
        message = "user_vector has no tables for the code columns of the index"
    reseal(bundle.path)
    host_requests = user_requests(bundle)[:1]
    if cause == "vector":
        host_requests[0].vectors[1] = np.ones(8, np.float32)
    process = start_host(native_programs, tmp_path, host_requests, onnx_runtime())
    assert process.returncode == 1 and message in process.stderr, process.stderr


CHAIN = """
bundle = "bundles"
[scenes.home]
[[scenes.home.stages]]
name = "prerank"
steps = [
    { use = "index_rows" }, { use = "has_embedding" }, { use = "inner_product", k = 30 },
    { use = "not_shown" }, { use = "freshness", weight = 0.1 }, { use = "dpp", k = 24, diversity = 0.2 },
]
[[scenes.home.stages]]
name = "rank"
steps = [
    { use = "ranker" }, { use = "quota", column = "creator_id", at_most = 4 },
    { use = "fusion", weights = { click = 1, like = 2.5 }, kind = "KIND" }, { use = "top_k", k = 16 },
]
[[scenes.home.stages]]
name = "rerank"
steps = [
    { use = "freshness", weight = 0.03, half_life_hours = 48 }, { use = "dpp", k = 12, diversity = 0.5 },
    { use = "page_rules", rules = [
        { column = "creator_id", window = 3 }, { column = "song_id", window = "session", max_count = 2 },
        { column = "type", window = 3, apart = [[0, 1]] },
    ] },
]
"""


def write_trees_ranker(bundle: Bundle) -> Bundle:
    """Replaces the ranker of a bundle by trees on `dense`, with their trees file."""
    rng = np.random.default_rng(5)
    width = bundle.encoder.inputs["dense"][1][0]
    nodes = [
        tree_node([random_tree(rng, 12, width) for _ in range(20)], "dense", f"sum {task}") for task in TASKS
    ]
    nodes.append(helper.make_node("Concat", [f"sum {task}" for task in TASKS], ["logits"], axis=1))
    path = write_model(bundle.path / "ranker.onnx", nodes, {"dense": width}, width=len(TASKS))
    model = onnx.load_model(str(path))
    helper.set_model_props(model, {"kind": "ranker", "tasks": json.dumps(TASKS), "model_version": "1"})
    onnx.save_model(model, str(path))
    assert export_trees(path).n_trees == 20 * len(TASKS)
    reseal(bundle.path)
    return Bundle.open(bundle.path)


def write_sums_ranker(bundle: Bundle) -> Bundle:
    """Adds row sums to the ranker of a bundle; the logits are their first three columns."""
    encoder, rng = bundle.encoder, np.random.default_rng(5)
    n_codes, n_numbers = len(encoder.names["item_ids"]), len(encoder.names["item_numbers"])
    outputs = {"sums": len(TASKS)}
    table = make_table(rng, [7, 300][:n_codes], rng.integers(1, 20, n_numbers).tolist(), outputs)
    write_sums(bundle.path / "ranker.onnx", table, n_codes, outputs)
    reseal(bundle.path)
    return Bundle.open(bundle.path)


@pytest.mark.parametrize("ranker", ["onnx", "trees", "sums"])
@pytest.mark.parametrize("kind", ["sum", "product"])
def test_cpp_host_returns_the_page_of_python(native_programs, tmp_path, ranker, kind):
    bundle = publish_small_bundle(tmp_path)
    if ranker == "trees":
        bundle = write_trees_ranker(bundle)
        assert bundle.ranker.trees > 0
    if ranker == "sums":
        bundle = write_sums_ranker(bundle)
        assert bundle.ranker.row_sums_bytes > 0
    (tmp_path / "karec.toml").write_text(CHAIN.replace("KIND", kind))
    config = Config.read(tmp_path / "karec.toml")
    stages = [build_stage(config, "home", name, bundle) for name in ("prerank", "rank", "rerank")]
    export_stages(tmp_path / "karec.toml", "home", (), tmp_path / "stage.json", bundle)
    host_requests = [*user_requests(bundle), *user_requests(bundle, k=3)]
    host_requests.append(replace(host_requests[0], candidates=np.empty(0, np.int64)))
    host_requests.append(replace(host_requests[1], candidates=host_requests[1].candidates[:3]))
    expected = [run_python(bundle, stages, host_request) for host_request in host_requests]
    assert run_host(native_programs, tmp_path, host_requests, onnx_runtime()) == expected
    assert len(set(expected)) > 12 and any(broken for _, _, broken in expected)


def test_cpp_host_rejects_a_ranker_with_an_input_that_it_lacks(native_programs, tmp_path):
    bundle = publish_small_bundle(tmp_path)
    (tmp_path / "karec.toml").write_text(CHAIN.replace("KIND", "sum"))
    export_stages(tmp_path / "karec.toml", "home", (), tmp_path / "stage.json", bundle)
    process = start_host(native_programs, tmp_path, [])
    assert process.returncode == 1 and "the step ranker needs ONNX Runtime" in process.stderr
    nodes = [helper.make_node("Concat", ["mood", "item_numbers"], ["logits"], axis=1)]
    write_model(bundle.path / "ranker.onnx", nodes, {"mood": 2, "item_numbers": 1}, width=3)
    reseal(bundle.path)
    process = start_host(native_programs, tmp_path, [], onnx_runtime())
    message = r"ranker\.onnx reads the input 'mood' float32 \(N, 2\), which this library does not compute"
    assert process.returncode == 1 and re.search(message, process.stderr), process.stderr


def test_export_rejects_steps_that_only_python_has(platform):
    config = configure(platform, HEAD + '{ use = "mmr", k = 5 }')
    with pytest.raises(ConfigError, match="the step 'mmr' runs only in Python; C\\+\\+ hosts have"):
        export_stages(config, "home", ["prerank"], platform / "stage.json")
    config = configure(platform, '{ use = "not_shown", on_failure = "skip" }')
    with pytest.raises(ConfigError, match="on_failure"):
        export_stages(config, "home", ["prerank"], platform / "stage.json")
    with pytest.raises(ConfigError, match=r"no stage 'rank' .*; there are \['prerank'\]"):
        build_stage(Config.read(configure(platform, HEAD)), "home", "rank")


def set_version(folder: Path) -> None:
    write_linear_model(folder, "ranker", ("item_numbers",), {"item_numbers": 1}, "logits", 3, version=2)


def change_model(folder: Path) -> None:
    path = folder / "ranker.onnx"
    path.write_bytes(path.read_bytes() + b"\x00")


def drop_array(folder: Path) -> None:
    path = folder / "ranker.trees.npz"
    arrays = dict(np.load(path))
    del arrays["values.0"]
    np.savez(path, **arrays)


def change_rest(folder: Path) -> None:
    """The rest then reads a column more than the table has."""
    path = folder / "ranker.sums.npz"
    arrays = dict(np.load(path))
    rest = onnx.load_model_from_string(arrays["rest"].tobytes())
    rest.graph.input[0].type.tensor_type.shape.dim[1].dim_value += 1
    rest.graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1
    arrays["rest"] = np.frombuffer(rest.SerializeToString(), np.uint8)
    np.savez(path, **arrays)


def widen_codes(folder: Path) -> None:
    """The table then is of more code columns than the encoder has."""
    path = folder / "ranker.sums.npz"
    arrays = dict(np.load(path))
    head = json.loads(arrays["head"].tobytes())
    head["n_codes"] += 1
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **arrays)


def truncate_model(folder: Path) -> None:
    path = folder / "ranker.onnx"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("part", "damage", "message"),
    [
        (None, set_version, "ranker.onnx: model version 2, expected the bundle's, 1"),
        (None, truncate_model, "ranker.onnx: "),
        (write_trees_ranker, change_model, "ranker.trees.npz: made from another file than ranker.onnx"),
        (write_trees_ranker, drop_array, "ranker.trees.npz: values.0 is missing, or not float32 with 1 axes"),
        (write_sums_ranker, change_model, "ranker.sums.npz: made from another file than ranker.onnx"),
        (
            write_sums_ranker,
            change_rest,
            "reads the input 'sums' float32 (N, 4), the encoder gives float32 (N, 3)",
        ),
        (write_sums_ranker, widen_codes, "columns of item_ids, which this library does not compute"),
        (
            write_trees_ranker,
            lambda folder: (folder / "snapshot/works/count_like.npy").unlink(),
            "has no file 'snapshot/works/",
        ),
    ],
)
def test_cpp_host_rejects_a_damaged_ranker_by_file(native_programs, tmp_path, part, damage, message):
    bundle = publish_small_bundle(tmp_path)
    if part is not None:
        bundle = part(bundle)
    (tmp_path / "karec.toml").write_text(CHAIN.replace("KIND", "sum"))
    export_stages(tmp_path / "karec.toml", "home", (), tmp_path / "stage.json", bundle)
    damage(bundle.path)
    reseal(bundle.path)
    process = start_host(native_programs, tmp_path, [], onnx_runtime())
    assert process.returncode == 1 and message in process.stderr, process.stderr


def test_cpp_host_rejects_a_tower_of_another_width(native_programs, tmp_path):
    bundle = publish_small_bundle(tmp_path)
    widths = {"user_numbers": len(bundle.encoder.names["user_numbers"])}
    write_linear_model(bundle.path, "user_tower", ("user_numbers",), widths, "user_vector", 5)
    reseal(bundle.path)
    export_stages(configure(tmp_path, RAW_STAGE), "home", ["prerank"], tmp_path / "stage.json", bundle)
    process = start_host(native_programs, tmp_path, [], onnx_runtime())
    assert process.returncode == 1 and "gives 5 dimensions, the index has 8" in process.stderr


def test_cpp_host_rejects_a_model_version_without_a_tower(native_programs, tmp_path):
    golden = Path(__file__).parent / "golden"
    shutil.copytree(golden / "bundle-1", tmp_path / "before")
    index = ItemIndex.open(tmp_path / "before" / "index.karec")
    index.upsert(index.ids[:1], np.ones((1, 4), np.float32), model_version=9)

    def write(folder):
        index.save(folder / "index.karec")
        write_user_tower(folder / "user_tower.onnx", 9, 4)

    publish_folder(tmp_path / "bundles", 9, write)
    shutil.copy(golden / "stage-1.json", tmp_path / "stage.json")
    process = start_host(native_programs, tmp_path, [])
    missing = "has rows of model version 7, but the bundle has no user_tower.v0000000007.onnx"
    assert process.returncode == 1 and missing in process.stderr
    with pytest.raises(BundleError, match=r"of model version 7,.* user_tower\.v0000000007\S* is missing"):
        Bundle.open(tmp_path / "bundles")
