"""Whose log is it: parts name the ranker that wrote them, and how many rows of which model version they
hold."""

import pyarrow.parquet as pq
import pytest
from small_rank_log import TASKS, append

from karec.errors import LogSchemaError
from karec.logs.contents import log_contents, rows_by_version
from karec.logs.parts import FORMAT, FORMAT_KEY, RANKER_KEY
from karec.logs.read import read_rank_log
from karec.logs.write import RankLogWriter


def test_each_part_says_who_wrote_it(tmp_path):
    for ranker, works in (("abc", [1, 2]), ("", [1, 2, 3])):
        with RankLogWriter(tmp_path, TASKS, ranker=ranker) as writer:
            append(writer, f"r{ranker}", works)
    contents = log_contents(tmp_path)
    assert sorted((each.ranker, dict(each.rows)) for each in contents) == [("", {7: 3}), ("abc", {7: 2})]
    assert rows_by_version(contents) == {7: 5}
    metadata = [pq.read_schema(each.part).metadata for each in contents]
    assert all(each[FORMAT_KEY] == str(FORMAT).encode() for each in metadata)
    assert sorted(each.get(RANKER_KEY, b"") for each in metadata) == [b"", b"abc"]
    assert len(read_rank_log(tmp_path, TASKS)) == 5, "whoever wrote it, a part is read"


def test_rows_of_one_version_are_read_alone(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2], model_version=7)
        append(writer, "r2", [1, 2, 3], model_version=8)
    assert rows_by_version(log_contents(tmp_path)) == {7: 2, 8: 3}
    assert set(read_rank_log(tmp_path, TASKS, version=8).request_id) == {"r2"}
    assert not len(read_rank_log(tmp_path, TASKS, version=9))


def test_a_folder_without_parts_is_named(tmp_path):
    with pytest.raises(LogSchemaError, match="holds no rank log"):
        log_contents(tmp_path)
