"""``karec recommend --batch`` writes the pages of many users into one file and resumes after a kill."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karec import cli
from karec.config import batch
from karec.pipeline.types import Request


@pytest.fixture
def users(bundle, tmp_path):
    """Nine users of the platform and an unknown one, in a file with another column."""
    ids = [*bundle.snapshot.users.ids[:9].tolist(), 5]
    pq.write_table(pa.table({"age": [1] * 10, "user_id": ids}), tmp_path / "users.parquet")
    return ids


def recommend(job, tmp_path, *more):
    files = ["--batch", str(tmp_path / "users.parquet"), "--out", str(tmp_path / "pages.parquet")]
    return cli.main(["recommend", str(job / "karec.toml"), "--k", "7", *files, *more])


def test_batch_gives_each_user_the_page_of_a_single_request(job, cascade, bundle, users, tmp_path, capsys):
    assert recommend(job, tmp_path) == 0
    assert "pages of 10 users" in capsys.readouterr().out
    rows = pq.read_table(tmp_path / "pages.parquet").to_pylist()
    expected = []
    cascade = replace(cascade, side_effects=())  # other tests read the log of the job
    for user in users:
        page = cascade.run(
            Request(user, 7, cascade.scene, bundle.snapshot.time_ms, request_id=f"recommend-{user}")
        )
        expected += [
            {
                "user_id": user,
                "position": item.position,
                "item_id": item.item_id,
                "item_type": item.item_type,
                "score": pytest.approx(item.score),
                "sources": list(item.sources),
            }
            for item in page
        ]
    assert rows == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.parquet", "users.parquet"]


def test_batch_reads_users_from_a_column_of_categories(job, users, tmp_path):
    """pandas writes such columns."""
    assert recommend(job, tmp_path) == 0
    plain = pq.read_table(tmp_path / "pages.parquet")
    (tmp_path / "pages.parquet").unlink()
    pq.write_table(pa.table({"user_id": pa.array(users).dictionary_encode()}), tmp_path / "users.parquet")
    assert recommend(job, tmp_path) == 0
    assert pq.read_table(tmp_path / "pages.parquet").equals(plain)


def test_batch_continues_after_the_last_complete_part_if_killed(job, users, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "PART_USERS", 4)
    assert recommend(job, tmp_path) == 0
    whole = pq.read_table(tmp_path / "pages.parquet")
    (tmp_path / "pages.parquet").unlink()
    served, killed = [], []
    run = batch.BatchJob._page_items

    def page_items(self, cascade, user):
        served.append(user)
        if user == users[6] and not killed:
            killed.append(user)
            raise KeyboardInterrupt
        return run(self, cascade, user)

    monkeypatch.setattr(batch.BatchJob, "_page_items", page_items)
    assert recommend(job, tmp_path) == 130
    assert not (tmp_path / "pages.parquet").exists()
    served.clear()
    assert recommend(job, tmp_path) == 0
    assert sorted(served) == sorted(users[4:])  # the first part was complete
    assert pq.read_table(tmp_path / "pages.parquet").equals(whole)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (
            lambda folder: pq.write_table(pa.table({"user_id": [1.5]}), folder / "users.parquet"),
            "expected integers or strings",
        ),
        (
            lambda folder: pq.write_table(pa.table({"user_id": [1, None]}), folder / "users.parquet"),
            "1 of them missing",
        ),
        (lambda folder: (folder / "users.parquet").write_bytes(b"PAR1"), "cannot be read as Parquet"),
        (lambda folder: (folder / "users.parquet").unlink(), "cannot be read as Parquet"),
        (lambda folder: (folder / "pages.parquet").touch(), "pages.parquet exists"),
    ],
)
def test_batch_rejects_unusable_files(job, users, tmp_path, capsys, alter, message):
    alter(tmp_path)
    assert recommend(job, tmp_path) == 2
    assert message in capsys.readouterr().err


def test_batch_reads_users_of_a_csv_file(job, users, tmp_path, capsys):
    assert recommend(job, tmp_path) == 0
    plain = pq.read_table(tmp_path / "pages.parquet")
    rows = "".join(f"{user},x\n" for user in users)
    for name, head, more in (
        ("first.csv", "shopper,age\n", ()),  # the first column is the default
        ("named.CSV", "shopper,age\n", ("--column", "shopper")),
        ("second.csv", "user_id,age\n", ()),
    ):
        (tmp_path / name).write_text(head + rows)
        files = ["--batch", str(tmp_path / name), "--out", str(tmp_path / f"{name}.parquet"), *more]
        assert cli.main(["recommend", str(job / "karec.toml"), "--k", "7", *files]) == 0
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(plain)
    for text, message in (("shopper\nann\n", "cannot be read as CSV"), ("a\n1\n\n", None), ("", "as CSV")):
        (tmp_path / "bad.csv").write_text(text)
        files = ["--batch", str(tmp_path / "bad.csv"), "--out", str(tmp_path / f"{len(text)}.parquet")]
        assert cli.main(["recommend", str(job / "karec.toml"), *files]) == (0 if message is None else 2)
        assert message is None or message in capsys.readouterr().err


def test_batch_rejects_an_unknown_column(job, users, tmp_path, capsys):
    assert recommend(job, tmp_path, "--column", "nobody") == 2
    assert "no column 'nobody'. Name one of ['age', 'user_id']" in capsys.readouterr().err


def test_batch_rejects_parts_of_another_job(job, users, tmp_path, capsys):
    (tmp_path / "pages.parquet.parts").mkdir()
    (tmp_path / "pages.parquet.parts" / "job.json").write_text("{}")
    assert recommend(job, tmp_path) == 2
    assert "parts of another job" in capsys.readouterr().err
