"""Tests that the join over buckets of users gives the examples that the whole log gives in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karec.errors import DataError
from karec.samples.examples import build_examples, refresh_times
from karec.samples.impression_files import ImpressionJoin, item_counters_by_time, read_bucket
from karec.samples.row_job import user_buckets
from karec.times import HOUR_MS

N_BUCKETS = 3


def to_table(rows):
    columns = {name: getattr(rows, name) for name in ("user_id", "work_id", "time_ms", "scene", "play_ms")}
    return pa.table({**columns, **{f"label_{name}": label for name, label in rows.labels.items()}})


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    """Each bucket has two files, the newer impressions in the first."""
    folder = tmp_path_factory.mktemp("impressions")
    buckets = user_buckets(dataset.exposures.user_id, N_BUCKETS)
    for bucket in range(N_BUCKETS):
        rows = np.flatnonzero(buckets == bucket)
        (folder / f"bucket={bucket}").mkdir()
        is_new = dataset.exposures.time_ms[rows] >= dataset.exposures.time_ms[rows[len(rows) // 2]]
        for name, part in (("a", rows[is_new]), ("b", rows[~is_new])):
            table = to_table(dataset.exposures.take(part))
            pq.write_table(table, folder / f"bucket={bucket}" / f"{name}.parquet")
    return folder


def make_join(dataset, encoder, folder, refresh_ms):
    origin, width = dataset.valid_until_ms, refresh_ms or HOUR_MS
    parts = (read_bucket(folder, bucket) for bucket in range(N_BUCKETS))
    counters = item_counters_by_time(parts, dataset.snapshot, encoder, width, origin)
    return ImpressionJoin(folder, encoder, dataset.snapshot, counters, refresh_ms, origin)


def whole_log(dataset, encoder, refresh_ms):
    """Returns, for each bucket, the examples that are built from the whole log in memory."""
    rows = dataset.exposures
    as_of = rows.time_ms
    if refresh_ms:
        times = refresh_times(rows.time_ms, refresh_ms, dataset.valid_until_ms)
        as_of = np.maximum(times, dataset.snapshot.time_ms)
    examples = build_examples(encoder, dataset.snapshot, rows, as_of)
    buckets = user_buckets(rows.user_id, N_BUCKETS)
    return [examples.take(np.flatnonzero(buckets == bucket)) for bucket in range(N_BUCKETS)]


@pytest.mark.parametrize("hours", [1, 7, 24])
def test_join_of_buckets_equals_that_of_the_whole_log(dataset, encoder, folder, hours):
    join = make_join(dataset, encoder, folder, hours * HOUR_MS)
    for bucket, expected in enumerate(whole_log(dataset, encoder, hours * HOUR_MS)):
        actual, numbers = join.rows_of(bucket)
        assert numbers.tolist() == list(range(len(expected)))
        np.testing.assert_array_equal(actual.exposures.time_ms, expected.exposures.time_ms)
        np.testing.assert_array_equal(actual.labels, expected.labels)
        rows = np.arange(len(expected))
        one, other = (examples.inputs(rows, with_position=True) for examples in (actual, expected))
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_items_are_as_of_the_last_hour_if_users_are_as_of_their_time(dataset, encoder, folder):
    join = make_join(dataset, encoder, folder, 0)
    by_hour = whole_log(dataset, encoder, HOUR_MS)
    for bucket, by_time in enumerate(whole_log(dataset, encoder, 0)):
        actual, _ = join.rows_of(bucket)
        np.testing.assert_array_equal(actual.user_counts, by_time.user_counts)
        np.testing.assert_array_equal(actual.scene_counts, by_time.scene_counts)
        np.testing.assert_array_equal(actual.item_counts, by_hour[bucket].item_counts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["user_id"]), "expected .*user_id"),
        (lambda table: table.select(["user_id", "work_id", "time_ms", "scene"]), "label_NAME"),
        (lambda table: table.set_column(0, "user_id", pa.array(["u"] * len(table))), "user_id|cast"),
        (lambda table: table.set_column(2, "time_ms", pa.array([0.5] * len(table))), "cast"),
        (lambda table: table.set_column(4, "play_ms", pa.array([None, *range(1, len(table))])), "cast"),
    ],
)
def test_wrong_impressions_are_named(dataset, tmp_path, change, message):
    (tmp_path / "bucket=4").mkdir()
    pq.write_table(change(to_table(dataset.exposures.take(slice(9)))), tmp_path / "bucket=4" / "a.parquet")
    with pytest.raises(DataError, match=f"bucket=4.*({message})"):
        read_bucket(tmp_path, 4)


def test_missing_or_damaged_bucket_is_named(folder, tmp_path):
    with pytest.raises(DataError, match="bucket=9"):
        read_bucket(folder, 9)
    (tmp_path / "bucket=0").mkdir()
    (tmp_path / "bucket=0" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="bucket=0"):
        read_bucket(tmp_path, 0)
