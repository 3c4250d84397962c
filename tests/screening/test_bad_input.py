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


def shard_of(root, number, name="part-0.parquet"):
    return root / "uploads" / f"day={day(number)}" / name


def change_settings(old, new):
    return lambda root: (root / "screen.toml").write_text(SETTINGS.replace(old, new))


def change_columns(change, number=3):
    return lambda root: rewritten(root / "screen.toml", number, change)


def copy_shard(to):
    return lambda root: shutil.copy(shard_of(root, 2), root / "uploads" / to)


def truncate_shard(length):
    return lambda root: shard_of(root, 3).write_bytes(shard_of(root, 3).read_bytes()[:length])


def damage_pages(root):
    content = bytearray(shard_of(root, 3).read_bytes())
    content[4:2000] = bytes(1996)
    shard_of(root, 3).write_bytes(content)


def remove_days(root):
    shutil.rmtree(root / "uploads")
    (root / "uploads").mkdir()


def repeat_day(root):
    shutil.rmtree(shard_of(root, 3).parent)
    shutil.copytree(shard_of(root, 2).parent, shard_of(root, 3).parent)


def add_shard_without_a_column(root):
    whole = shard_of(root, 3).read_bytes()
    change_columns(lambda columns: columns.pop("fans"))(root)
    shard_of(root, 3).rename(shard_of(root, 3, "part-1.parquet"))
    shard_of(root, 3).write_bytes(whole)


TEXTS = np.zeros(80, np.int32), ["long"]
DAY_FOLDER = f"day={day(1)}"
DAMAGES = {
    "no folder": (lambda root: shutil.rmtree(root / "uploads"), "not a folder, expected one with day=YYYY"),
    "no days": (remove_days, "no days, expected"),
    "missing day": (
        lambda root: shutil.rmtree(shard_of(root, 2).parent),
        f"{day(2)} missing. Add the uploads",
    ),
    "repeated day": (repeat_day, "have the same content. Remove one of them"),
    "repeated shard": (copy_shard(f"day={day(2)}/part-1.parquet"), "part-1.parquet and "),
    "day without files": (lambda root: shard_of(root, 3).unlink(), "no *.parquet. Add one"),
    "damaged pages": (damage_pages, f"day={day(3)}"),
    "other columns": (
        add_shard_without_a_column,
        "part-1.parquet: column 'fans' is missing, expected integer",
    ),
    "capitals": (
        change_columns(lambda columns: columns.update({"Height": columns["height"]}), 1),
        "columns 'height' and 'Height' differ at most in capital letters. Rename one of them",
    ),
    "similar column": (
        change_columns(lambda columns: columns.update(second=columns.pop("seconds"))),
        "no column 'seconds' (did you mean 'second'?)",
    ),
    "no block list": (
        lambda root: (root / "blocked.txt").unlink(),
        "blocked.txt: not readable as a list of ids",
    ),
    "no model": (
        change_settings('column = "score"', 'model = "quality.onnx"'),
        "quality.onnx is missing. Train it with karec screen --train",
    ),
    "two types": (
        change_settings('column = "fans", below = 100', 'column = "type", below = 100'),
        "screen.toml reads column 'type' as text and as integer or number",
    ),
    "shard outside of days": (
        copy_shard("part-0.parquet"),
        "name is 'part-0.parquet', expected day=YYYY-MM-DD",
    ),
    "folder in a day": (lambda root: shard_of(root, 1, "hour=3").mkdir(), "hour=3: not a file *.parquet"),
    **{
        name: (
            lambda root, name=name: (root / "uploads" / name).mkdir(),
            f"name is {name!r}, expected day=YYYY-MM",
        )
        for name in ("day=2026-11-3", "day=2026-13-03", "day=yesterday", "days=2026-11-09")
    },
    **{
        name: (copy_shard(f"{DAY_FOLDER}/{name}"), f"{name}: not a file *.parquet")
        for name in ("part-1.PARQUET", "part-1.parq")
    },
    **{
        f"shard of {length} bytes": (
            truncate_shard(length),
            "part-0.parquet: truncated or not a Parquet file",
        )
        for length in (0, 3, 100, -1)
    },
    **{
        f"no column {name}": (
            change_columns(lambda columns, name=name: columns.pop(name)),
            f"no column {name!r}",
        )
        for name in ("id", "seconds", "type", "score", "song", "vector", "fans")
    },
    **{
        f"{name} of another type": (
            change_columns(lambda columns, name=name, values=values: columns.update({name: values})),
            f"column {name!r} is {reason}",
        )
        for name, values, reason in (
            ("seconds", TEXTS, "text, expected integer or number"),
            ("type", np.zeros(80, np.int64), "integer, expected text"),
            ("vector", np.zeros(80), "number, expected numbers"),
            ("id", np.zeros(80), "number, expected integer or text"),
            ("song", TEXTS, "text, expected integer as in"),
        )
    },
    **{
        f"blocked {line}": (
            lambda root, line=line: (root / "blocked.txt").write_text(f"3\n\n{line}\n"),
            f"blocked.txt, line 3: id is {line!r}, expected an integer",
        )
        for line in ("seven", "3.0", "1" * 19)
    },
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_upload_or_setting_is_refused_with_its_place(copy, tmp_path, name):
    damage, message = DAMAGES[name]
    damage(copy.parent)
    refused(copy, tmp_path / "out", message)


def test_work_kept_on_two_days_is_refused(copy, days, tmp_path):
    rewritten(copy, 3, lambda columns: columns.update(id=days[2]["id"][:80]))
    copy.write_text(SETTINGS.replace("keep = 60", "keep = 100_000"))
    refused(copy, tmp_path / "out", f"was uploaded on {day(2)} and on {day(3)}")


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


def test_vectors_of_two_lengths_are_refused(copy, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder_of(copy, 3) / "part-0.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("vector")
    vectors = pa.array([row[: 8 - (n > 100)] for n, row in enumerate(table["vector"].to_pylist())])
    pq.write_table(table.set_column(at, "vector", vectors), path)
    refused(copy, tmp_path / "out", "expected one length")


def test_refused_screening_keeps_earlier_results(copy, out, tmp_path):
    screened = tmp_path / "screened"
    shutil.copytree(out, screened)
    before = (screened / "kept.parquet").read_bytes()
    shutil.rmtree(folder_of(copy, 2))
    with pytest.raises(DataError, match=re.escape(str(day(2)))):
        screen(read_settings(copy), screened)
    assert (screened / "kept.parquet").read_bytes() == before


def test_hidden_and_marker_files_are_ignored(copy, out, tmp_path):
    for name in ("_SUCCESS", ".part-0.parquet.crc", "_metadata.parquet"):
        (folder_of(copy, 1) / name).write_bytes(b"x")
    (copy.parent / "uploads" / "README.md").write_text("days of uploads\n")
    screen(read_settings(copy), tmp_path / "out")
    assert (tmp_path / "out" / "kept.parquet").read_bytes() == (out / "kept.parquet").read_bytes()
