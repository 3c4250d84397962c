"""Tests that unusable uploads give an error of one line with the place, and that earlier results stay."""

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


def refused(path, out, message):
    with pytest.raises(DataError) as error:
        screen(read_settings(path), out)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (out / "kept.parquet").exists()


def folder_of(path, number):
    return path.parent / "uploads" / f"day={day(number)}"


def rewritten(path, number, change):
    columns = draw(80, np.random.default_rng(number), number * 1000)
    change(columns)
    shutil.rmtree(folder_of(path, number))
    write_uploads(path.parent, {number: columns}, path.read_text())


def test_missing_uploads_folder_is_refused(copy, tmp_path):
    shutil.rmtree(copy.parent / "uploads")
    refused(copy, tmp_path / "out", "not a folder, expected one with day=YYYY-MM-DD")


def test_uploads_folder_without_days_is_refused(copy, tmp_path):
    shutil.rmtree(copy.parent / "uploads")
    (copy.parent / "uploads").mkdir()
    refused(copy, tmp_path / "out", "no days, expected")


@pytest.mark.parametrize("name", ["day=2026-11-3", "day=2026-13-03", "day=yesterday"])
def test_folder_that_is_not_a_day_is_refused(copy, tmp_path, name):
    (copy.parent / "uploads" / name).mkdir()
    refused(copy, tmp_path / "out", f"name is {name!r}, expected day=YYYY-MM-DD")


def test_missing_day_is_refused(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 2))
    refused(copy, tmp_path / "out", f"{day(2)} missing. Add the uploads")


def test_day_in_missing_days_is_noted(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 2))
    copy.write_text(f"missing_days = [{day(2)}]\n" + copy.read_text())
    screened = screen(read_settings(copy), tmp_path / "out")
    assert (
        f"{day(2)} is missing, as set in screen.toml" in screened.notes and str(day(2)) not in screened.days
    )


def test_day_in_missing_days_with_uploads_is_noted(copy, tmp_path):
    copy.write_text(f"missing_days = [{day(2)}]\n" + copy.read_text())
    screened = screen(read_settings(copy), tmp_path / "out")
    assert (
        f"{day(2)} is in missing_days of screen.toml but has uploads, which were screened" in screened.notes
    )


def test_missing_day_before_the_window_is_accepted(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 0))
    assert len(screen(read_settings(copy), tmp_path / "out").days) == 4


def test_unknown_last_day_is_refused(copy, tmp_path):
    with pytest.raises(DataError, match=f"no uploads of {day(9)}; there are days from"):
        screen(read_settings(copy), tmp_path / "out", last=day(9))


def test_duplicate_day_is_refused(copy, tmp_path):
    shutil.rmtree(folder_of(copy, 3))
    shutil.copytree(folder_of(copy, 2), folder_of(copy, 3))
    refused(copy, tmp_path / "out", "have the same content. Remove one of them")


def test_duplicate_shard_is_refused(copy, tmp_path):
    shutil.copy(folder_of(copy, 2) / "part-0.parquet", folder_of(copy, 2) / "part-1.parquet")
    refused(copy, tmp_path / "out", "part-1.parquet and ")


def test_work_kept_on_two_days_is_refused(copy, days, tmp_path):
    def same_ids(columns):
        columns["id"] = days[2]["id"][:80]

    rewritten(copy, 3, same_ids)
    copy.write_text(SETTINGS.replace("keep = 60", "keep = 100_000"))
    refused(copy, tmp_path / "out", f"was uploaded on {day(2)} and on {day(3)}")


def test_day_without_files_is_refused(copy, tmp_path):
    (folder_of(copy, 3) / "part-0.parquet").unlink()
    refused(copy, tmp_path / "out", "no *.parquet. Add one")


@pytest.mark.parametrize("left", [0, 3, 100, -1])
def test_truncated_shard_is_refused(copy, tmp_path, left):
    path = folder_of(copy, 3) / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:left])
    refused(copy, tmp_path / "out", f"{path}: truncated or not a Parquet file")


def test_shard_with_damaged_pages_is_refused(copy, tmp_path):
    path = folder_of(copy, 3) / "part-0.parquet"
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    refused(copy, tmp_path / "out", f"day={day(3)}")


@pytest.mark.parametrize("column", ["id", "seconds", "type", "score", "song", "vector", "fans"])
def test_missing_column_is_refused(copy, tmp_path, column):
    rewritten(copy, 3, lambda columns: columns.pop(column))
    refused(copy, tmp_path / "out", f"no column {column!r}")


def test_missing_column_error_names_a_similar_column(copy, tmp_path):
    rewritten(copy, 3, lambda columns: columns.update(second=columns.pop("seconds")))
    refused(copy, tmp_path / "out", "no column 'seconds' (did you mean 'second'?)")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "seconds",
            (np.zeros(80, np.int32), ["long"]),
            "column 'seconds' is text, expected integer or number",
        ),
        ("type", np.zeros(80, np.int64), "column 'type' is integer, expected text"),
        ("vector", np.zeros(80), "column 'vector' is number, expected numbers"),
        ("id", np.zeros(80), "column 'id' is number, expected integer or text"),
        ("song", (np.zeros(80, np.int32), ["x"]), "column 'song' is text, expected integer as in"),
    ],
)
def test_column_of_another_type_is_refused(copy, tmp_path, column, values, message):
    rewritten(copy, 3, lambda columns: columns.update({column: values}))
    refused(copy, tmp_path / "out", message)


def test_shards_with_different_columns_are_refused(copy, tmp_path):
    shutil.move(folder_of(copy, 3) / "part-0.parquet", tmp_path / "kept.parquet")
    rewritten(copy, 3, lambda columns: columns.pop("fans"))
    shutil.move(folder_of(copy, 3) / "part-0.parquet", folder_of(copy, 3) / "part-1.parquet")
    shutil.move(tmp_path / "kept.parquet", folder_of(copy, 3) / "part-0.parquet")
    refused(
        copy,
        tmp_path / "out",
        "part-1.parquet: column 'fans' is missing, expected integer as in part-0.parquet",
    )


def test_vectors_of_two_lengths_are_refused(copy, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder_of(copy, 3) / "part-0.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("vector")
    vectors = pa.array([row[: 8 - (n > 100)] for n, row in enumerate(table["vector"].to_pylist())])
    pq.write_table(table.set_column(at, "vector", vectors), path)
    refused(copy, tmp_path / "out", "expected one length")


def test_missing_block_list_is_refused(copy, tmp_path):
    (copy.parent / "blocked.txt").unlink()
    refused(copy, tmp_path / "out", "blocked.txt: not readable as a list of ids")


@pytest.mark.parametrize("line", ["seven", "3.0", "1" * 19])
def test_block_list_line_that_is_not_an_id_is_refused(copy, tmp_path, line):
    (copy.parent / "blocked.txt").write_text(f"3\n\n{line}\n")
    refused(copy, tmp_path / "out", f"blocked.txt, line 3: id is {line!r}, expected an integer")


def test_column_read_as_two_types_is_refused(copy, tmp_path):
    copy.write_text(SETTINGS.replace('column = "fans", below = 100', 'column = "type", below = 100'))
    refused(copy, tmp_path / "out", "screen.toml reads column 'type' as text and as integer or number")


def test_missing_quality_model_is_refused(copy, tmp_path):
    copy.write_text(SETTINGS.replace('column = "score"', 'model = "quality.onnx"'))
    refused(copy, tmp_path / "out", "quality.onnx is missing. Train it with karec screen --train")


def test_refused_screening_keeps_earlier_results(copy, out, tmp_path):
    screened = tmp_path / "screened"
    shutil.copytree(out, screened)
    before = (screened / "kept.parquet").read_bytes()
    shutil.rmtree(folder_of(copy, 2))
    with pytest.raises(DataError, match=re.escape(str(day(2)))):
        screen(read_settings(copy), screened)
    assert (screened / "kept.parquet").read_bytes() == before


@pytest.mark.parametrize("name", ["2026-11-09", "days=2026-11-09", "part-0.parquet"])
def test_uploads_outside_of_days_are_refused(copy, tmp_path, name):
    shard = next(folder_of(copy, 0).iterdir())
    (copy.parent / "uploads" / name).write_bytes(shard.read_bytes())
    if not name.endswith(".parquet"):
        (copy.parent / "uploads" / name).unlink()
        (copy.parent / "uploads" / name).mkdir()
    refused(copy, tmp_path / "out", f"name is {name!r}, expected day=YYYY-MM-DD")


@pytest.mark.parametrize("name", ["hour=3", "part-1.PARQUET", "part-1.parq"])
def test_unreadable_files_of_a_day_are_refused(copy, tmp_path, name):
    if "=" in name:
        (folder_of(copy, 1) / name).mkdir()
    else:
        shutil.copy(next(folder_of(copy, 0).iterdir()), folder_of(copy, 1) / name)
    refused(copy, tmp_path / "out", f"{folder_of(copy, 1) / name}: not a file *.parquet")


def test_hidden_and_marker_files_are_ignored(copy, out, tmp_path):
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_metadata.parquet"):
        (folder_of(copy, 1) / name).write_bytes(b"x")
    (copy.parent / "uploads" / "README.md").write_text("days of uploads\n")
    screen(read_settings(copy), tmp_path / "out")
    assert (tmp_path / "out" / "kept.parquet").read_bytes() == (out / "kept.parquet").read_bytes()


def test_columns_that_differ_only_in_capitals_are_refused(copy, tmp_path):
    rewritten(copy, 1, lambda columns: columns.update({"Height": columns["height"]}))
    refused(
        copy,
        tmp_path / "out",
        "columns 'height' and 'Height' differ at most in capital letters. Rename one of them",
    )
