"""``karec recommend --batch``: the feeds of many users in one file, the same as one by one, and again after a
kill."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karec import cli
from karec.cli import batch
from karec.pipeline.types import Request


@pytest.fixture
def users(bundle, tmp_path):
    """Nine users of the platform, and one whom nobody knows, in a file with another column."""
    ids = [*bundle.snapshot.users.ids[:9].tolist(), 5]
    pq.write_table(pa.table({"age": [1] * 10, "user": ids}), tmp_path / "users.parquet")
    return ids


def recommend(job, tmp_path, *more):
    files = ["--batch", str(tmp_path / "users.parquet"), "--out", str(tmp_path / "feeds.parquet")]
    return cli.main(["recommend", str(job / "karec.toml"), "--k", "7", *files, *more])


def test_each_user_has_the_feed_that_one_request_gives(job, cascade, bundle, users, tmp_path, capsys):
    assert recommend(job, tmp_path) == 0
    assert "pages of 10 users" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "feeds.parquet").to_pylist()
    expected, unwatched = [], replace(cascade, side_effects=())  # the job's own log is read by other tests
    for user in users:
        asked = Request(user, k=7, scene=cascade.scene, time_ms=bundle.snapshot.time_ms)
        feed = unwatched.run(replace(asked, request_id=f"recommend-{user}"))
        expected += [
            {
                "user": user,
                "position": item.position,
                "item": item.item_id,
                "score": pytest.approx(item.score),
                "found_by": list(item.sources),
            }
            for item in feed
        ]
    assert rows == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feeds.parquet", "users.parquet"]


def test_users_may_be_a_column_of_categories(job, users, tmp_path):
    """As pandas writes them."""
    assert recommend(job, tmp_path) == 0
    plain = pq.read_table(tmp_path / "feeds.parquet")
    (tmp_path / "feeds.parquet").unlink()
    pq.write_table(pa.table({"user": pa.array(users).dictionary_encode()}), tmp_path / "users.parquet")
    assert recommend(job, tmp_path) == 0
    assert pq.read_table(tmp_path / "feeds.parquet").equals(plain)


def test_a_job_that_was_killed_goes_on_where_it_stopped(job, users, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "PART_USERS", 4)
    assert recommend(job, tmp_path) == 0
    whole = pq.read_table(tmp_path / "feeds.parquet")
    (tmp_path / "feeds.parquet").unlink()
    asked, killed, run = [], [], batch.BatchJob._feed

    def feed(self, cascade, user):
        asked.append(user)
        if user == users[6] and not killed:
            killed.append(user)
            raise KeyboardInterrupt
        return run(self, cascade, user)

    monkeypatch.setattr(batch.BatchJob, "_feed", feed)
    assert recommend(job, tmp_path) == 130
    assert not (tmp_path / "feeds.parquet").exists()
    asked.clear()
    assert recommend(job, tmp_path) == 0
    assert sorted(asked) == sorted(users[4:])  # the first part was whole
    assert pq.read_table(tmp_path / "feeds.parquet").equals(whole)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda folder: pq.write_table(pa.table({"a": [1], "b": [2]}), folder / "users.parquet"),
            "no column 'user'",
        ),
        (
            lambda folder: pq.write_table(pa.table({"user": [1.5]}), folder / "users.parquet"),
            "ids are integers or texts",
        ),
        (
            lambda folder: pq.write_table(pa.table({"user": [1, None]}), folder / "users.parquet"),
            "1 of them missing",
        ),
        (lambda folder: (folder / "users.parquet").write_bytes(b"PAR1"), "cannot be read as Parquet"),
        (lambda folder: (folder / "users.parquet").unlink(), "cannot be read as Parquet"),
        (lambda folder: (folder / "feeds.parquet").touch(), "is there already"),
    ],
)
def test_what_cannot_be_done_is_told(job, users, tmp_path, capsys, alter, message):
    alter(tmp_path)
    assert recommend(job, tmp_path) == 2
    assert message in capsys.readouterr().err


def test_parts_of_another_job_are_not_gone_on_with(job, users, tmp_path, capsys):
    (tmp_path / "feeds.parquet.parts").mkdir()
    (tmp_path / "feeds.parquet.parts" / "job.json").write_text("{}")
    assert recommend(job, tmp_path) == 2
    assert "parts of another job" in capsys.readouterr().err
