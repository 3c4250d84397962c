"""Limits of the structure rules: bundles of few parts, ends of ranges, and open model shapes."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from damage import reseal
from damaged_models import ITEM, RANKER, USER, axis
from small_bundle import DIM
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder, verify
from karec.bundle.verify import check_snapshot
from karec.catalog.schema import LATEST_MS
from karec.catalog.table import Table
from karec.errors import BundleError
from karec.index import ItemIndex


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "bundle")


def opened(folder):
    reseal(folder)
    return Bundle.open(folder)


def put(folder, name, change):
    path = folder / "snapshot" / f"{name}.npy"
    np.save(path, change(np.load(path)))


def change_model(path, *changes):
    model = onnx.load_model(str(path))
    for change in changes:
        change(model)
    onnx.save_model(model, str(path))


# Parts


@pytest.mark.parametrize(
    "parts", [(), ("snapshot",), ("encoder.npz",), ("index.karec",), ("snapshot", "encoder.npz"), (RANKER,)]
)
def test_bundle_opens_with_some_parts_only(folder, parts):
    for path in folder.iterdir():
        if path.name not in ("manifest.json", *parts):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert opened(folder).model_version == 1


def test_bundle_accepts_an_empty_file_and_an_inner_link(folder):
    (folder / "empty").touch()
    (folder / "again.npz").symlink_to("encoder.npz")
    assert opened(folder).model_version == 1


# Values


def first(value):
    return lambda array: np.concatenate([np.array([value], array.dtype), array[1:]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("works/upload_ms", LATEST_MS),
        ("works/upload_ms", -1),
        ("works/type", 1),
        ("works/type", -1),
        ("works/count_click", 0),
        ("users/age", np.nan),
        ("relations/history.times", 0),
        ("relations/history.times", LATEST_MS),
        ("relations/history.scenes", -1),
        ("relations/history.scenes", 1),
    ],
)
def test_bundle_accepts_values_at_range_limits(folder, name, value):
    put(folder, name, first(value))
    assert opened(folder).model_version == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "works/upload_ms",
            LATEST_MS + 1,
            r"works/upload_ms\.npy, row 0: 253402300800000; moments lie before the",
        ),
        (
            "relations/history.times",
            LATEST_MS + 1,
            r"times\.npy, row 0: .*; moments lie in 0 … 253402300799999$",
        ),
        ("relations/history.scenes", 2, r"history\.scenes\.npy, row 0: 2; labels name 2 codes of it$"),
        ("works/type", 2, r"works/type\.npy, row 0: 2; labels name 2 codes of it$"),
    ],
)
def test_bundle_names_the_row_of_a_value_beyond_its_range(folder, name, value, message):
    put(folder, name, first(value))
    with pytest.raises(BundleError, match=message):
        opened(folder)


def test_snapshot_check_names_a_bad_row_after_the_first_piece(good, monkeypatch):
    monkeypatch.setattr(verify, "PIECE_ROWS", 4)
    snapshot = Bundle.open(good).snapshot
    columns = {name: np.array(column) for name, column in snapshot.users.columns.items()}
    columns["age"] = columns["age"].astype(np.float32)
    columns["age"][9:] = np.inf
    with pytest.raises(
        BundleError, match=r"users/age\.npy, row 9: inf; numbers are finite, or NaN where they are not"
    ):
        check_snapshot(good, replace(snapshot, users=Table(snapshot.users.ids, columns)), None)


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ("users", "city", r"users/city\.npy is of float64, expected integers, as the encoder reads them$"),
        ("works", "upload_ms", r"works/upload_ms\.npy is of float64, expected integers$"),
        ("users", "count_click", r"users/count_click\.npy is of int64, expected float32 counters$"),
    ],
)
def test_snapshot_column_check_names_a_dtype_unlike_the_encoders(good, table, column, message):
    bundle = Bundle.open(good)
    of = getattr(bundle.snapshot, table)
    other = np.asarray(of[column]).astype(np.int64 if of[column].dtype.kind == "f" else np.float64)
    changed = replace(bundle.snapshot, **{table: Table(of.ids, {**of.columns, column: other})})
    with pytest.raises(BundleError, match=message):
        check_snapshot(good / "snapshot", changed, bundle.encoder)


# The index


def index_of(folder, value, dtype="float32", **changes):
    """Publishes an index whose vectors hold ``value``, and one of whose works is blocked, adjusted and
    removed."""

    def write(to):
        index = ItemIndex.build(
            np.arange(4), np.full((4, DIM), value, np.float32), dtype=dtype, model_version=1
        )
        index.block([0])
        index.adjust([1], scale=0.5, offset=-2.0)
        index.remove([3])
        index.save(to / "index.karec")

    return Bundle.open(publish_folder(folder, 1, write))


def test_bundle_accepts_blocked_adjusted_and_removed_items(tmp_path):
    assert len(index_of(tmp_path, 0.5).index) == 3


def test_bundle_refuses_vectors_if_unit_user_vector_score_overflows(tmp_path):
    length = np.sqrt(DIM)
    assert len(index_of(tmp_path / "long", 3e38 / length).index) == 3
    with pytest.raises(
        BundleError, match=r"index\.karec: a vector or an adjustment is not finite, or a vector is too long"
    ):
        index_of(tmp_path / "longer", 3.4e38 / length * 1.1)


# Models


def test_user_tower_with_a_fixed_row_count_other_than_1_is_refused(folder):
    change_model(folder / USER, axis("input", "user_numbers", 0, 1))
    assert opened(folder).model_version == 1
    change_model(folder / USER, axis("input", "user_numbers", 0, 2))
    with pytest.raises(
        BundleError,
        match=r"user_tower\.onnx fails in a smoke run: .* for input: user_numbers .* Got: 1 Expected: 2",
    ):
        opened(folder)


@pytest.mark.parametrize(("name", "inputs"), [(ITEM, "item_numbers"), (RANKER, "item_numbers")])
def test_item_model_with_a_fixed_row_count_is_refused(folder, name, inputs):
    change_model(folder / name, axis("input", inputs, 0, 1))
    with pytest.raises(
        BundleError, match=rf"{name} fails in a smoke run: .* for input: {inputs} .* Got: 17 Expected: 1"
    ):
        opened(folder)


def test_models_may_leave_their_output_width_open(folder):
    def unknown(model):
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "width"

    def without_shape(model):
        model.graph.output[0].type.tensor_type.ClearField("shape")

    for change in (unknown, without_shape):
        for name in (USER, ITEM, RANKER):
            change_model(folder / name, change)
        assert opened(folder).model_version == 1


def test_model_weights_may_be_in_a_file_of_the_bundle(folder):
    model = onnx.load_model(str(folder / RANKER))
    onnx.save_model(
        model, str(folder / RANKER), save_as_external_data=True, location="ranker.weights", size_threshold=0
    )
    assert opened(folder).model_version == 1
    (folder / "ranker.weights").unlink()
    with pytest.raises(BundleError, match=r"ranker\.onnx does not load as an ONNX model: .*ranker\.weights"):
        opened(folder)


def test_index_may_have_vectors_of_each_version_with_a_tower(tmp_path):
    def write(to):
        index = ItemIndex.build([1, 2], np.eye(2, 4, dtype=np.float32), model_version=6)
        index.upsert([2], np.eye(1, 4), model_version=7)
        index.save(to / "index.karec")
        write_user_tower(to / "user_tower.onnx", 7, 4)
        write_user_tower(to / "user_tower.v0000000006.onnx", 6, 4)

    bundle = Bundle.open(publish_folder(tmp_path, 7, write))
    assert sorted(bundle.user_towers) == list(bundle.index.model_versions) == [6, 7]


def test_user_tower_is_checked_if_the_item_tower_is_missing(tmp_path):
    def write(to):
        ItemIndex.build([1, 2], np.eye(2, 4, dtype=np.float32), model_version=7).save(to / "index.karec")
        write_user_tower(to / "user_tower.onnx", 7, 5)

    with pytest.raises(
        BundleError, match=r"user_tower\.onnx: user_vector is float32 \(1, 5\), expected float32 \(1, 4\)$"
    ):
        Bundle.open(publish_folder(tmp_path, 7, write))


@pytest.mark.parametrize("version", [10**18, 2**63 - 1])
def test_user_tower_accepts_the_largest_bundle_versions(tmp_path, version):
    publish_folder(tmp_path, version, lambda to: write_user_tower(to / "user_tower.onnx", version, 4))
    assert Bundle.open(tmp_path).user_tower.model_version == version
