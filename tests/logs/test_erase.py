"""Rows of erased ids leave the parts of a rank log, local and in an object store."""

import pyarrow.parquet as pq
import pytest
from object_stores import url_of
from small_rank_log import TASKS, append

from karec.erasure import ErasedIds
from karec.errors import LogSchemaError
from karec.logs.erase import erase_from_log
from karec.logs.parts import to_log_folder
from karec.logs.read import list_parts, read_rank_log
from karec.logs.write import RankLogWriter


@pytest.fixture
def folder(tmp_path):
    """Two parts: users 5 and 6 at 1,000 ms, user 5 at 9,000 ms."""
    with RankLogWriter(tmp_path / "log", TASKS, part_rows=6, ranker="abc") as writer:
        append(writer, "r1", [10, 11, 12])
        append(writer, "r2", [10, 13, 14], user_id=6)
        append(writer, "r3", [10, 11, 12], time_ms=9000)
    return tmp_path / "log"


@pytest.fixture(params=["local", "url"])
def log(request, folder):
    if request.param == "local":
        return folder
    stored = to_log_folder(url_of(request.getfixturevalue("s3_port"), f"bucket/{folder.parent.name}"))
    for part in folder.iterdir():
        stored.upload(part, part.name)
    return stored


def erased(kind, number, before_ms):
    return ErasedIds(kind, [number], before_ms)


def requests_of(log):
    return {str(rows.request_id[0]): rows.item_id.tolist() for rows in read_rank_log(log, TASKS).requests()}


def test_rows_of_an_erased_user_before_the_erasure_leave_the_log(log):
    ids = [erased("user", 5, 5000)]
    assert erase_from_log(log, ids) == 3
    assert requests_of(log).keys() == {"r2", "r3"} and len(list_parts(log)) == 2
    assert erase_from_log(log, ids) == 0


def test_erased_item_leaves_the_lists_of_all_requests(log):
    ids = [erased("item", 10, 5000), erased("creator", 11, 5000), erased("user", 99, 5000)]
    assert erase_from_log(log, ids) == 2
    assert {name: sorted(items) for name, items in requests_of(log).items()} == {
        "r1": [11, 12],
        "r2": [13, 14],
        "r3": [10, 11, 12],
    }


def test_untouched_parts_and_metadata_stay(folder):
    first, second = sorted(folder.iterdir())
    before = second.read_bytes()
    erase_from_log(folder, [erased("user", 5, 5000)])
    assert second.read_bytes() == before
    assert pq.read_schema(first).metadata == pq.read_schema(second).metadata


def test_failed_rewrite_keeps_the_former_part(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(writer, table):
        raise OSError("disk")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(OSError, match="disk"):
        erase_from_log(folder, [erased("user", 5, 5000)])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damaged_part_is_named(folder):
    first, _ = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(LogSchemaError, match=first.name):
        erase_from_log(folder, [erased("user", 5, 5000)])


def test_log_without_a_folder_has_no_rows(tmp_path):
    assert erase_from_log(tmp_path / "none", [erased("user", 5, 5000)]) == 0
