"""Tests of exported events: files are read as they were written, or refused."""

import json
from dataclasses import asdict

import duckdb
import numpy as np
import pyarrow.parquet
import pytest
from event_platform import HEAD, Happenings, events
from hypothesis import given
from object_stores import url_of

from karec.aggregates.events import COLUMNS, UPLOAD, Events, Head
from karec.errors import LogSchemaError
from karec.online.event_files import EventFiles, from_table, to_table

DAY = 20_000


def assert_equal(left: Events, right: Events) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True, err_msg=name)


def upload() -> Events:
    return Events.from_columns(
        np.array([UPLOAD], np.uint8),
        time_ms=DAY * 86_400_000,
        source=(1 << 64) - 1,
        number=1 << 63,
        item_id=7,
        creator_id=3,
        text=json.dumps({"title": "a “song”\n"}),
    )


@given(Happenings)
def test_table_of_events_restores_the_events(rows):
    given_events = events([(*row[:5], min(row[5], 2)) for row in rows])  # scene 3 has no name
    assert_equal(from_table(to_table(given_events, HEAD), HEAD), given_events)


def test_event_files_restore_row_groups_in_order(tmp_path):
    files = EventFiles(str(tmp_path / "events"))
    assert files.days() == []
    files.write(DAY, iter([upload(), events([(0, 1, 2, 3, 5, 1)])]), HEAD)
    first, second = files.read(DAY, HEAD)
    assert_equal(first, upload())
    assert_equal(second, events([(0, 1, 2, 3, 5, 1)]))
    assert files.days() == [DAY]


def test_event_files_at_a_url_restore_events(s3_port):
    files = EventFiles(url_of(s3_port, "bucket/events"))
    assert files.days() == []
    files.write(DAY, iter([upload()]), HEAD)
    assert files.days() == [DAY]
    (stored,) = files.read(DAY, HEAD)
    assert_equal(stored, upload())


def test_failed_write_keeps_the_former_event_file(tmp_path):
    files = EventFiles(str(tmp_path))
    files.write(DAY, iter([upload()]), HEAD)

    def fail():
        yield upload()
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        files.write(DAY, fail(), HEAD)
    assert sum(len(batch) for batch in files.read(DAY, HEAD)) == 1


@pytest.mark.parametrize("at", [10, -10, "middle"])
def test_damaged_event_file_is_refused_by_name(tmp_path, at):
    files = EventFiles(str(tmp_path))
    files.write(DAY, iter([events([(0, 1, 2, 3, 5, 1)] * 500)]), HEAD)
    path = next(tmp_path.glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at == "middle" else at] ^= 0xFF
    path.write_bytes(data)
    try:
        read = list(files.read(DAY, HEAD))
    except LogSchemaError as error:
        assert path.name in str(error)  # noqa: PT017 - some bytes of a Parquet file have no meaning
    else:
        assert_equal(read[0], events([(0, 1, 2, 3, 5, 1)] * 500))


@pytest.mark.parametrize("head", [Head(("click",), HEAD.scenes), Head(HEAD.labels, ("city",))])
def test_event_file_of_unknown_labels_or_scenes_is_refused(tmp_path, head):
    files = EventFiles(str(tmp_path))
    files.write(DAY, iter([events([(0, 1, 2, 3, 15, 2)])]), HEAD)
    with pytest.raises(LogSchemaError, match="is not one of"):
        list(files.read(DAY, head))


def test_event_file_is_readable_by_sql(tmp_path):
    EventFiles(str(tmp_path)).write(DAY, iter([events([(0, 1, 2, 3, 5, 2)])]), HEAD)
    query = f"SELECT event, user_id, scene, labels FROM '{tmp_path}/*.parquet'"
    assert duckdb.sql(query).fetchall() == [("impression", 3, "home", ["click", "like"])]


def test_metadata_of_an_event_file_has_labels_and_scenes(tmp_path):
    EventFiles(str(tmp_path)).write(DAY, iter([upload()]), HEAD)
    schema = pyarrow.parquet.read_schema(next(tmp_path.glob("*.parquet")))
    head = json.loads(schema.metadata[b"karec.events"])
    assert head == {"format": 1, **json.loads(json.dumps(asdict(HEAD)))}
