"""Uploads that cannot be screened: an error of one line that says where; what was there before stays."""

import re
import shutil

import numpy as np
import pytest
from small_uploads import SETTINGS, day, draw, write_uploads

from karec.errors import DataError
from karec.screening.screen import screen
from karec.screening.settings import read_settings


@pytest.fixture
def copy(library, tmp_path):
    """The path of a screen.toml that a test may damage."""
    shutil.copytree(library.parent, tmp_path / "library")
    return tmp_path / "library" / "screen.toml"


def refused(path, out, told):
    with pytest.raises(DataError) as error:
        screen(read_settings(path), out)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (out / "kept.parquet").exists()


def folder_of(path, number):
    return path.parent / "uploads" / f"day={day(number)}"


def rewritten(path, number, change):
    columns = draw(80, np.random.default_rng(number), number * 1000)
    change(columns)
    shutil.rmtree(folder_of(path, number))
    write_uploads(path.parent, {number: columns}, path.read_text())


def test_no_folder_of_uploads(copy, tmp_path):
    shutil.rmtree(copy.parent / "uploads")
    refused(copy, tmp_path / "out", "is no folder: days are wanted there")


def test_a_folder_without_days(copy, tmp_path):
    shutil.rmtree(copy.parent / "uploads")
    (copy.parent / "uploads").mkdir()
    refused(copy, tmp_path / "out", "holds no days")


@pytest.mark.parametrize("name", ["day=2026-11-3", "day=2026-13-03", "day=yesterday"])
def test_a_folder_that_is_no_day(copy, tmp_path, name):
    (copy.parent / "uploads" / name).mkdir()
    refused(copy, tmp_path / "out", f"{name!r} is no day: day=YYYY-MM-DD is wanted")


def test_a_day_that_is_missing(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 2))
    refused(copy, tmp_path / "out", f"lacks {day(2)}")


def test_a_day_that_is_missing_and_said_to_be(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 2))
    copy.write_text(f"missing_days = [{day(2)}]\n" + copy.read_text())
    screened = screen(read_settings(copy), tmp_path / "out")
    assert f"{day(2)} is missing, as screen.toml says" in screened.notes and str(day(2)) not in screened.days


def test_a_day_that_is_said_to_be_missing_and_is_there(copy, tmp_path):
    copy.write_text(f"missing_days = [{day(2)}]\n" + copy.read_text())
    screened = screen(read_settings(copy), tmp_path / "out")
    assert f"{day(2)} is among missing_days of screen.toml, and is there: it was screened" in screened.notes


def test_a_day_before_the_window_may_be_missing(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 0))
    assert len(screen(read_settings(copy), tmp_path / "out").days) == 4


def test_a_last_day_that_is_not_there(copy, tmp_path):
    with pytest.raises(DataError, match=f"there are no uploads of {day(9)}: the days there are go from"):
        screen(read_settings(copy), tmp_path / "out", last=day(9))


def test_a_day_that_is_there_twice(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 3))
    shutil.copytree(folder_of(copy, 2), folder_of(copy, 3))
    refused(copy, tmp_path / "out", "once more: remove one of them")


def test_a_shard_that_is_there_twice(copy, tmp_path):
    shutil.copy(folder_of(copy, 2) / "part-0.parquet", folder_of(copy, 2) / "part-1.parquet")
    refused(copy, tmp_path / "out", "part-1.parquet is ")


def test_a_work_that_is_kept_on_two_days(copy, days, tmp_path):
    def same_ids(columns):
        columns["id"] = days[2]["id"][:80]

    rewritten(copy, 3, same_ids)
    copy.write_text(SETTINGS.replace("keep = 60", "keep = 100_000"))
    refused(copy, tmp_path / "out", f"was uploaded on {day(2)} and on {day(3)}")


def test_a_day_without_files(copy, tmp_path):
    (folder_of(copy, 3) / "part-0.parquet").unlink()
    refused(copy, tmp_path / "out", "holds no *.parquet")


@pytest.mark.parametrize("left", [0, 3, 100, -1])
def test_a_shard_that_is_cut_short(copy, tmp_path, left):
    path = folder_of(copy, 3) / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:left])
    refused(copy, tmp_path / "out", f"{path} is no whole Parquet file")


def test_a_shard_whose_pages_are_damaged(copy, tmp_path):
    path = folder_of(copy, 3) / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    refused(copy, tmp_path / "out", f"day={day(3)}")


@pytest.mark.parametrize("column", ["id", "seconds", "type", "score", "song", "vector", "fans"])
def test_a_column_that_is_missing(copy, tmp_path, column):
    rewritten(copy, 3, lambda columns: columns.pop(column))
    refused(copy, tmp_path / "out", f"no column {column!r}")


def test_a_column_that_is_nearly_there_is_named(copy, tmp_path):
    rewritten(copy, 3, lambda columns: columns.update(second=columns.pop("seconds")))
    refused(copy, tmp_path / "out", "no column 'seconds' (did you mean 'second'?)")


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        (
            "seconds",
            (np.zeros(80, np.int32), ["long"]),
            "column 'seconds' holds text, wanted: integer or number",
        ),
        ("type", np.zeros(80, np.int64), "column 'type' holds integer, wanted: text"),
        ("vector", np.zeros(80), "column 'vector' holds number, wanted: numbers"),
        ("id", np.zeros(80), "column 'id' holds number, wanted: integer or text"),
        ("song", (np.zeros(80, np.int32), ["x"]), "column 'song' holds text, in"),
    ],
)
def test_a_column_that_holds_something_else(copy, tmp_path, column, values, told):
    rewritten(copy, 3, lambda columns: columns.update({column: values}))
    refused(copy, tmp_path / "out", told)


def test_shards_of_a_day_that_differ(copy, tmp_path):
    shutil.move(folder_of(copy, 3) / "part-0.parquet", tmp_path / "kept.parquet")
    rewritten(copy, 3, lambda columns: columns.pop("fans"))
    shutil.move(folder_of(copy, 3) / "part-0.parquet", folder_of(copy, 3) / "part-1.parquet")
    shutil.move(tmp_path / "kept.parquet", folder_of(copy, 3) / "part-0.parquet")
    refused(
        copy, tmp_path / "out", "part-1.parquet: column 'fans' is missing, in part-0.parquet it holds integer"
    )


def test_vectors_of_two_lengths(copy, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder_of(copy, 3) / "part-0.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("vector")
    vectors = pa.array([row[: 8 - (n > 100)] for n, row in enumerate(table["vector"].to_pylist())])
    pq.write_table(table.set_column(at, "vector", vectors), path)
    refused(copy, tmp_path / "out", "one length is wanted")


def test_a_list_of_blocked_creators_that_is_missing(copy, tmp_path):
    (copy.parent / "blocked.txt").unlink()
    refused(copy, tmp_path / "out", "blocked.txt cannot be read as a list of ids")


@pytest.mark.parametrize("line", ["seven", "3.0", "1" * 19])
def test_a_line_of_that_list_that_is_no_id(copy, tmp_path, line):
    (copy.parent / "blocked.txt").write_text(f"3\n\n{line}\n")
    refused(copy, tmp_path / "out", f"blocked.txt, line 3: {line!r} is no integer")


def test_a_column_that_is_read_in_two_ways(copy, tmp_path):
    copy.write_text(SETTINGS.replace('column = "fans", below = 100', 'column = "type", below = 100'))
    refused(copy, tmp_path / "out", "screen.toml reads column 'type' as text and as integer or number")


def test_a_model_that_is_missing(copy, tmp_path):
    copy.write_text(SETTINGS.replace('column = "score"', 'model = "quality.onnx"'))
    refused(copy, tmp_path / "out", "quality.onnx is missing: karec screen --train writes it")


def test_a_refused_screening_leaves_what_was_there(copy, out, tmp_path):
    screened = tmp_path / "screened"
    shutil.copytree(out, screened)
    before = (screened / "kept.parquet").read_bytes()
    shutil.rmtree(folder_of(copy, 2))
    with pytest.raises(DataError, match=re.escape(str(day(2)))):
        screen(read_settings(copy), screened)
    assert (screened / "kept.parquet").read_bytes() == before


@pytest.mark.parametrize("name", ["2026-11-09", "days=2026-11-09", "part-0.parquet"])
def test_uploads_that_lie_in_no_day(copy, tmp_path, name):
    shard = next(folder_of(copy, 0).iterdir())
    (copy.parent / "uploads" / name).write_bytes(shard.read_bytes())
    if not name.endswith(".parquet"):
        (copy.parent / "uploads" / name).unlink()
        (copy.parent / "uploads" / name).mkdir()
    refused(copy, tmp_path / "out", f"{name!r} is no day: day=YYYY-MM-DD is wanted")


@pytest.mark.parametrize("name", ["hour=3", "part-1.PARQUET", "part-1.parq"])
def test_uploads_of_a_day_that_would_not_be_read(copy, tmp_path, name):
    if "=" in name:
        (folder_of(copy, 1) / name).mkdir()
    else:
        shutil.copy(next(folder_of(copy, 0).iterdir()), folder_of(copy, 1) / name)
    refused(copy, tmp_path / "out", f"{folder_of(copy, 1) / name} is no file *.parquet")


def test_what_writers_leave_beside_shards_is_passed_over(copy, out, tmp_path):
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_metadata.parquet"):
        (folder_of(copy, 1) / name).write_bytes(b"x")
    (copy.parent / "uploads" / "README.md").write_text("days of uploads\n")
    screen(read_settings(copy), tmp_path / "out")
    assert (tmp_path / "out" / "kept.parquet").read_bytes() == (out / "kept.parquet").read_bytes()


def test_columns_that_differ_in_capitals_alone(copy, tmp_path):
    rewritten(copy, 1, lambda columns: columns.update({"Height": columns["height"]}))
    refused(
        copy, tmp_path / "out", "columns 'height' and 'Height' differ in capitals at most: rename one of them"
    )
