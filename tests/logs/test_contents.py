"""Contents of a rank log: rankers, rows by model version, and the summary for people."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_rank_log import TASKS, append

from karec.errors import LogSchemaError
from karec.logs.contents import count_rows_by_version, describe_rank_log, read_log_contents
from karec.logs.parts import FORMAT, FORMAT_KEY, RANKER_KEY
from karec.logs.read import read_rank_log
from karec.logs.write import RankLogWriter


def test_parts_name_their_ranker_and_rows(tmp_path):
    for ranker, works in (("abc", [1, 2]), ("", [1, 2, 3])):
        with RankLogWriter(tmp_path, TASKS, ranker=ranker) as writer:
            append(writer, f"r{ranker}", works)
    contents = read_log_contents(tmp_path)
    assert sorted((part.ranker, dict(part.rows)) for part in contents) == [("", {7: 3}), ("abc", {7: 2})]
    assert count_rows_by_version(contents) == {7: 5}
    metadata = [pq.read_schema(part.part).metadata for part in contents]
    assert all(keys[FORMAT_KEY] == str(FORMAT).encode() for keys in metadata)
    assert sorted(keys.get(RANKER_KEY, b"") for keys in metadata) == [b"", b"abc"]
    assert len(read_rank_log(tmp_path, TASKS)) == 5


def test_read_rank_log_selects_one_version(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2], model_version=7)
        append(writer, "r2", [1, 2, 3], model_version=8)
    assert count_rows_by_version(read_log_contents(tmp_path)) == {7: 2, 8: 3}
    assert set(read_rank_log(tmp_path, TASKS, version=8).request_id) == {"r2"}
    assert not len(read_rank_log(tmp_path, TASKS, version=9))


def test_contents_of_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(LogSchemaError, match="holds no rank log"):
        read_log_contents(tmp_path)


def append_shadow(writer, request_id, ids, time_ms, model_version):
    n = len(ids)
    writer.append(
        request_id=request_id,
        user_id=1,
        item_ids=np.array(ids),
        scene="home",
        time_ms=time_ms,
        model_version=model_version,
        logits=np.zeros((n, 2), np.float32),
        fused=np.zeros(n, np.float32),
        shadow=True,
    )


def test_describe_returns_counts_tasks_versions_and_times(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", list(range(1200)), time_ms=1_700_000_000_000)
        append(writer, "r2", [1, 2], time_ms=1_700_000_060_000)
    with RankLogWriter(tmp_path, TASKS) as writer:
        append_shadow(writer, "r2", [1, 2, 3], 1_700_000_061_500, 6)
        append_shadow(writer, "r3", [4], 1_700_000_030_000, 7)
    assert describe_rank_log(tmp_path) == {
        "parts": 2,
        "rows": 1206,
        "requests": 3,
        "shadow requests": 2,
        "rows of shadow requests": 4,
        "item types": "work",
        "tasks": "click, like",
        "model versions": "6, 7",
        "from": "2023-11-14T22:13:20.000 UTC",
        "to": "2023-11-14T22:14:21.500 UTC",
    }
