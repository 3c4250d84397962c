"""Parts of the rank log are uploaded to an S3 server, kept while it is away, and deleted after their days."""

import logging
import os
import subprocess
import sys
import threading
import time
from uuid import uuid4

import numpy as np
import pytest
from logged_cascade import WORKS, logged_cascade, logits, numbered
from object_stores import free_port, make_bucket, s3_server, set_credentials, url_of

from karec.errors import LogSchemaError
from karec.logs.contents import describe_rank_log, read_log_contents
from karec.logs.parts import to_log_folder
from karec.logs.read import read_rank_log, read_tasks
from karec.logs.ship import PartShipper
from karec.object_store import ObjectFolder

TASKS = ("click", "like")
LONG_S = 60


@pytest.fixture
def url(s3_port):
    """A folder of its own in the bucket."""
    return url_of(s3_port, f"bucket/{uuid4().hex}/log")


def requests_in(folder):
    """Returns the numbers of the requests in the log. Each must be complete and unchanged."""
    numbers = []
    for log in read_rank_log(folder, TASKS).requests():
        numbers.append(int(log.request_id[0].removeprefix("r")))
        np.testing.assert_array_equal(log.logits, logits(numbers[-1]))
    return numbers


def run(cascade, numbers):
    for number in numbers:
        cascade.run(numbered(number))
        cascade.side_effects[0].flush()


def parts_in(folder):
    return sorted((folder / "log").glob("*.parquet"))


def test_parts_are_uploaded_and_deleted_and_training_reads_them_by_url(ranker, tmp_path, url):
    cascade = logged_cascade(ranker, tmp_path, url=url)
    run(cascade, range(3))
    (counts,) = cascade.close()
    assert counts.own["parts_uploaded"] == 3 and counts.own["rows_lost"] == 0
    assert not parts_in(tmp_path)
    log = to_log_folder(url)
    assert requests_in(log) == [0, 1, 2]
    assert read_tasks(log) == TASKS
    assert [sum(part.rows.values()) for part in read_log_contents(log)] == [WORKS] * 3
    assert describe_rank_log(log)["requests"] == 3


def test_parts_stay_while_the_store_is_away_and_are_uploaded_later(ranker, tmp_path, monkeypatch, caplog):
    set_credentials(monkeypatch)
    port = free_port()
    cascade = logged_cascade(ranker, tmp_path, url=url_of(port, "bucket/log"))
    shipper = cascade.side_effects[0].side_effect._shipper
    with caplog.at_level(logging.WARNING, "karec.logs"):
        run(cascade, range(2))
        shipper._thread.join()
    assert len(parts_in(tmp_path)) == 2
    (message,) = [record.message for record in caplog.records]
    assert "stay in" in message and "s3://bucket/log/part-" in message and "endpoint_override" not in message
    with s3_server(port):
        make_bucket(port, "bucket")
        shipper._next_upload_s = 0.0  # as if its pause were over
        run(cascade, [2])
        (counts,) = cascade.close()
        assert counts.own["parts_uploaded"] == 3 and counts.own["uploads_failed"] >= 1
        assert not parts_in(tmp_path)
        assert requests_in(to_log_folder(url_of(port, "bucket/log"))) == [0, 1, 2]


def test_next_process_uploads_parts_of_a_killed_one(ranker, tmp_path, url):
    cascade = logged_cascade(ranker, tmp_path)
    run(cascade, [0])
    cascade.close()
    assert len(parts_in(tmp_path)) == 1
    cascade = logged_cascade(ranker, tmp_path, url=url)
    run(cascade, [1])
    cascade.close()
    assert requests_in(to_log_folder(url)) == [0, 1]


def age(part, days):
    moment = time.time() - days * 86_400
    os.utime(part, (moment, moment))


def test_parts_older_than_their_days_are_deleted(ranker, tmp_path):
    cascade = logged_cascade(ranker, tmp_path, days=2.0)
    run(cascade, range(2))
    old, new = parts_in(tmp_path)
    age(old, 2.1)
    age(new, 1.9)
    run(cascade, [2])
    assert old not in parts_in(tmp_path) and new in parts_in(tmp_path)
    assert len(parts_in(tmp_path)) == 2
    cascade.close()


def test_parts_that_expire_before_their_upload_are_counted_and_logged(tmp_path, monkeypatch, caplog):
    set_credentials(monkeypatch)
    part = tmp_path / "part-a-000000.parquet"
    part.write_bytes(b"rows")
    age(part, 1.5)
    shipper = PartShipper(tmp_path, 1.0, url_of(free_port(), "bucket/log"))
    shipper.ship()
    assert shipper.counts() == {
        "parts_uploaded": 0,
        "uploads_failed": 1,
        "parts_expired": 1,
        "objects_expired": 0,
    }
    assert f"1 rank log parts in {tmp_path} expired before their upload" in caplog.text


def test_parts_at_the_url_older_than_their_days_are_deleted_each_hour(tmp_path):
    folder, stored = tmp_path / "log", tmp_path / "stored"
    folder.mkdir()
    stored.mkdir()
    ages = {"part-0123456789ab-000000": 2.1, "part-0123456789ab-000001": 1.9, "part-mine": 9, "other": 9}
    for name, days in ages.items():
        (stored / f"{name}.parquet").write_bytes(b"rows")
        age(stored / f"{name}.parquet", days)
    shipper = PartShipper(folder, 2.0, f"file://{stored}")
    shipper.ship()
    kept = ["other.parquet", "part-0123456789ab-000001.parquet", "part-mine.parquet"]
    assert sorted(path.name for path in stored.iterdir()) == kept
    assert shipper.counts()["objects_expired"] == 1
    age(stored / kept[1], 2.1)
    shipper.ship()
    assert (stored / kept[1]).exists()
    shipper._next_expiry_s = 0.0  # as if the hour were over
    shipper.ship()
    assert not (stored / kept[1]).exists()


def test_share_selects_the_same_requests_in_every_process(ranker, tmp_path):
    cascades = [
        logged_cascade(ranker, tmp_path / name, share=share)
        for name, share in (("a", 0.5), ("b", 0.5), ("c", 0.2))
    ]
    for cascade in cascades:
        run(cascade, range(60))
        cascade.close()
    half, same, fifth = [set(requests_in(tmp_path / name / "log")) for name in "abc"]
    assert half == same and fifth < half
    assert 15 < len(half) < 45 and 2 < len(fifth) < 25


LOCKER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_one_process_ships_a_folder_at_a_time(tmp_path, url):
    (tmp_path / "part-a-000000.parquet").write_bytes(b"rows")
    shipper = PartShipper(tmp_path, 1.0, url)
    command = [sys.executable, "-c", LOCKER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        shipper.ship()
        assert shipper.counts()["parts_uploaded"] == 0
        other.stdin.close()
    shipper.ship()
    assert shipper.counts()["parts_uploaded"] == 1
    assert ObjectFolder(url).names(".parquet") == ["part-a-000000.parquet"]


def test_damaged_part_in_an_object_store_is_refused_by_its_url(url):
    ObjectFolder(url).write("part-a-000000.parquet", b"rows")
    with pytest.raises(
        LogSchemaError, match=r"s3://bucket/.*/log/part-a-000000\.parquet is not a Parquet file"
    ):
        read_tasks(to_log_folder(url))
    with pytest.raises(LogSchemaError, match=r"s3://bucket/.*/empty holds no rank log"):
        read_tasks(to_log_folder(url.replace("/log?", "/empty?")))


@pytest.mark.parametrize(("option", "value"), [("share", 0.0), ("share", 1.5), ("days", 0.0)])
def test_rank_log_refuses_a_share_or_days_out_of_range(ranker, tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        logged_cascade(ranker, tmp_path, **{option: value})


def test_requests_do_not_wait_for_an_upload(ranker, tmp_path, url, monkeypatch):
    has_begun, may_end = threading.Event(), threading.Event()
    upload = ObjectFolder.upload

    def upload_slowly(self, path, name):
        has_begun.set()
        assert may_end.wait(LONG_S)
        upload(self, path, name)

    monkeypatch.setattr(ObjectFolder, "upload", upload_slowly)
    cascade = logged_cascade(ranker, tmp_path, url=url)
    run(cascade, [0])
    assert has_begun.wait(LONG_S)
    run(cascade, range(1, 4))  # their flushes return although the upload has not ended
    may_end.set()
    (counts,) = cascade.close()
    assert counts.own["parts_uploaded"] == 4 and not counts.dropped
    assert requests_in(to_log_folder(url)) == [0, 1, 2, 3]
