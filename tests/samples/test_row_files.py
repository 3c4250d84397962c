"""Tests of training rows on disk: values, restarts, workers, and files that are refused."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karec.catalog.table import Table
from karec.errors import DataError
from karec.features.encoder import USER_SIDE, Encoder
from karec.samples import row_files
from karec.samples.encoded_rows import EncodedRows, encode_rows
from karec.samples.examples import build_examples
from karec.samples.row_files import RowFolder, RowsManifest
from karec.samples.row_job import days_of, user_buckets, write_rows

NAMES = (
    *("user_id", "user_ids", "user_numbers", "history", "skipped", "follows", "friends", "alike", "context"),
    *("item_ids", "item_numbers", "crosses"),
)
N_BUCKETS = 3


@pytest.fixture(scope="module")
def manifest(examples):
    encoder = examples.encoder
    widths = {name: int(np.prod(encoder.inputs[name][1])) for name in NAMES}
    widths |= dict.fromkeys(("history", "skipped"), encoder.history_length)
    days = days_of(examples.exposures.time_ms)
    return RowsManifest("a log", "an encoder", N_BUCKETS, len(encoder.tasks), widths, days)


@pytest.fixture(scope="module")
def rows_of(examples):
    buckets = user_buckets(examples.exposures.user_id, N_BUCKETS)

    def rows_of_bucket(bucket):
        rows = np.flatnonzero(buckets == bucket)
        return examples.take(rows), rows

    return rows_of_bucket


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch):
    monkeypatch.setattr(row_files, "GROUP_ROWS", 50)


@pytest.fixture
def folder(tmp_path, manifest, rows_of):
    write_rows(tmp_path / "rows", manifest, rows_of)
    return tmp_path / "rows"


def read_all(folder, manifest=None):
    opened = RowFolder.open(folder, manifest)
    return EncodedRows.concat([opened.read(group) for group in opened.groups])


def part_of(folder, place=0):
    return sorted(folder.glob("day=*/*.parquet"))[place]


def test_read_rows_equal_the_encoded_examples(examples, folder):
    read = read_all(folder)
    assert sorted(read.numbers.tolist()) == list(range(len(examples)))
    expected = encode_rows(examples, read.numbers, NAMES)
    np.testing.assert_array_equal(read.labels, examples.labels[read.numbers])
    np.testing.assert_array_equal(read.item_rows, examples.item_rows[read.numbers])
    for name in NAMES:
        actual, wanted = (
            rows.inputs[name][rows.sides] if name in USER_SIDE else rows.inputs[name]
            for rows in (read, expected)
        )
        n = actual.shape[1]
        assert not wanted[:, n:].any(), name  # further social edges are padding
        np.testing.assert_array_equal(actual, wanted[:, :n], err_msg=name)


def test_part_stores_each_user_side_once(examples, manifest, rows_of, tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "GROUP_ROWS", 10**6)
    write_rows(tmp_path, manifest, rows_of)
    n_sides = sum(len(rows_of(bucket)[0].user_sides()[0]) for bucket in range(N_BUCKETS))
    opened = RowFolder.open(tmp_path)
    assert (
        sum(len(opened.read(group).inputs["context"]) for group in opened.groups) == n_sides < len(examples)
    )


def test_buckets_without_users_have_empty_parts(examples, manifest, tmp_path):
    buckets = user_buckets(examples.exposures.user_id, 40)

    def rows_of(bucket):
        rows = np.flatnonzero(buckets == bucket)
        return examples.take(rows), rows

    write_rows(tmp_path, replace_manifest(manifest, n_buckets=40), rows_of)
    assert len([*tmp_path.glob("day=*/*")]) == 40 * len(manifest.days)
    assert sorted(read_all(tmp_path).numbers.tolist()) == list(range(len(examples)))


def test_rows_of_users_without_categories_are_read(dataset, manifest, tmp_path):
    """The inputs user_ids and alike have no column."""
    users = dataset.snapshot.users
    columns = {name: column for name, column in users.columns.items() if name != "city"}
    snapshot = replace(dataset.snapshot, users=Table(users.ids, columns))
    encoder = Encoder.fit(snapshot, dataset.split()[0], dataset.tasks)
    examples = build_examples(encoder, snapshot, dataset.exposures)
    widths = {
        name: int(np.prod(encoder.inputs[name][1])) for name in ("user_ids", "alike", "context", "crosses")
    }
    assert widths["user_ids"] == widths["alike"] == 0
    rows = np.arange(len(examples))
    write_rows(tmp_path, replace_manifest(manifest, inputs=widths, n_buckets=1), lambda _: (examples, rows))
    read = read_all(tmp_path)
    expected = encode_rows(examples, read.numbers, [*widths])
    np.testing.assert_array_equal(read.inputs["crosses"], expected.inputs["crosses"])
    assert read.inputs["user_ids"].shape == read.inputs["alike"].shape == (read.sides.max() + 1, 0)


def test_interrupted_job_writes_only_the_parts_that_it_lacks(tmp_path, manifest, rows_of):
    class Killed(Exception):
        pass

    def killed_rows_of(bucket):
        if bucket == 2:
            raise Killed
        return rows_of(bucket)

    with pytest.raises(Killed):
        write_rows(tmp_path, manifest, killed_rows_of)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("day=*/*")}
    assert len(finished) == 2 * len(manifest.days)
    asked = []
    n_written = write_rows(tmp_path, manifest, lambda bucket: (asked.append(bucket), rows_of(bucket))[1])
    assert asked == [2] and n_written == len(manifest.days)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert write_rows(tmp_path, manifest, killed_rows_of) == 0


def test_failed_part_leaves_no_file(tmp_path, manifest, rows_of, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(row_files, "_to_table", fail)
    with pytest.raises(OSError, match="No space left"):
        write_rows(tmp_path, manifest, rows_of)
    assert not [*tmp_path.glob("day=*/*")]


def test_workers_together_write_every_part(tmp_path, manifest, rows_of, folder):
    for worker in (1, 0):
        write_rows(tmp_path / "by workers", manifest, rows_of, worker=worker, n_workers=2)
    one, other = read_all(folder), read_all(tmp_path / "by workers")
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.inputs["crosses"], other.inputs["crosses"])


def test_missing_part_is_named(folder):
    part_of(folder, 1).unlink()
    with pytest.raises(DataError, match=f"{part_of(folder, 0).parent.name}.*is missing"):
        RowFolder.open(folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped bit"])
def test_damaged_part_is_named_before_work_starts(folder, manifest, rows_of, damage):
    part = part_of(folder, 2)
    content = bytearray(part.read_bytes())
    column = pq.ParquetFile(part).metadata.row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 4
    damaged = {"cut": content[:-100], "empty": b"", "text": b"no rows", "flipped bit": bytes(content)}
    part.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=f"{part.name} is damaged"):
        RowFolder.open(folder)
    part_of(folder, 0).unlink()
    with pytest.raises(DataError, match=f"{part.name} is damaged"):
        write_rows(folder, manifest, rows_of)
    assert len([*folder.glob("day=*/*")]) == N_BUCKETS * len(manifest.days) - 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_flipped_bit_is_refused_or_changes_no_value(folder, manifest, place, bit):
    part = part_of(folder)
    content = part.read_bytes()
    expected = read_all(folder)
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= 1 << bit
    part.write_bytes(damaged)
    read, message = expected, part.name
    try:
        read = read_all(folder, manifest)
    except DataError as error:
        message = str(error)
    part.write_bytes(content)
    assert part.name in message
    for name in NAMES:
        np.testing.assert_array_equal(read.inputs[name], expected.inputs[name])
    np.testing.assert_array_equal(read.labels, expected.labels)


def test_part_of_another_place_or_job_is_refused(folder, tmp_path, manifest, rows_of):
    part, other = part_of(folder, 0), part_of(folder, 1)
    content = part.read_bytes()
    part.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=r"part-00000.parquet: made by"):
        RowFolder.open(folder, manifest)
    write_rows(tmp_path / "other", replace_manifest(manifest, encoder="another"), rows_of)
    part.write_bytes(part_of(tmp_path / "other").read_bytes())
    with pytest.raises(DataError, match=r"part-00000.parquet: made by"):
        RowFolder.open(folder, manifest)
    part.write_bytes(content)
    part.with_name("part-00099.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"part-00099.parquet: not a part of"):
        RowFolder.open(folder, manifest)


def replace_manifest(manifest, **changes):
    fields = {name: getattr(manifest, name) for name in RowsManifest.__struct_fields__}
    return RowsManifest(**{**fields, **changes})


@pytest.mark.parametrize("change", [{"encoder": "another"}, {"source": "other"}, {"n_buckets": 2}])
def test_folder_of_another_job_is_refused(folder, manifest, rows_of, change):
    changed = replace_manifest(manifest, **change)
    with pytest.raises(DataError, match=r"part-00000.parquet: made by .*an encoder.*, expected"):
        write_rows(folder, changed, rows_of)
    with pytest.raises(DataError, match=r"part-00000.parquet: made by .*an encoder.*, expected"):
        RowFolder.open(folder, changed)


def test_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} has no training rows"):
        RowFolder.open(tmp_path)


def splitmix(x):
    """SplitMix64's finaliser in integers without a limit."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def test_user_buckets_are_even_hashes():
    ids = np.arange(-5_000, 5_000)
    buckets = user_buckets(ids, 8)
    assert buckets.tolist() == [splitmix(user % 2**64) % 8 for user in ids.tolist()]
    assert (np.abs(np.bincount(buckets, minlength=8) - 1250) < 5 * np.sqrt(1250)).all()
