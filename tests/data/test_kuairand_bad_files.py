"""A KuaiRand file that is missing, cut or wrong is named with its column, row and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from kuairand_files import Files, kuairand_files

from karec.data import kuairand
from karec.errors import DataError


@pytest.fixture
def files() -> Files:
    return kuairand_files()


def set_cell(name: str, row: int, column: str, value: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name][row][files[name][0].index(column)] = value

    return change


def drop_column(name: str, column: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        at = files[name][0].index(column)
        files[name] = [cells[:at] + cells[at + 1 :] for cells in files[name]]

    return change


BAD: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "no log": (lambda f: f.pop(kuairand.LOG), [kuairand.LOG, "missing"]),
    "no user file": (lambda f: f.pop(kuairand.USERS), [kuairand.USERS, "missing", "user_id"]),
    "empty file": (lambda f: f.update({kuairand.VIDEOS: []}), [kuairand.VIDEOS, "empty", "video_id"]),
    "header only": (lambda f: f.update({kuairand.USERS: f[kuairand.USERS][:1]}), [kuairand.USERS, "no rows"]),
    "column gone": (drop_column(kuairand.LOG, "is_like"), [kuairand.LOG, "'is_like'", "missing"]),
    "user column gone": (drop_column(kuairand.USERS, "onehot_feat3"), [kuairand.USERS, "'onehot_feat3'"]),
    "text for a number": (set_cell(kuairand.LOG, 3, "time_ms", "noon"), [kuairand.LOG, "'time_ms'", "int", "noon"]),
    "empty cell": (set_cell(kuairand.LOG, 3, "video_id", ""), [kuairand.LOG, "'video_id'", "line 4", "empty"]),
    "label of 2": (set_cell(kuairand.LOG, 4, "is_click", "2"), [kuairand.LOG, "'is_click'", "line 5", "0 or 1"]),
    "seconds": (set_cell(kuairand.LOG, 1, "time_ms", "1650812741"), ["'time_ms'", "line 2", "milliseconds"]),
    "tab 15": (set_cell(kuairand.LOG, 1, "tab", "15"), [kuairand.LOG, "'tab'", "0 … 14"]),
    "negative play": (set_cell(kuairand.LOG, 1, "play_time_ms", "-1"), ["'play_time_ms'", "-1"]),
    "unknown video": (set_cell(kuairand.LOG, 2, "video_id", "99"), ["'video_id'", "line 3", "99", kuairand.VIDEOS]),
    "unknown user": (set_cell(kuairand.LOG, 2, "user_id", "99"), ["'user_id'", "line 3", "99", kuairand.USERS]),
    "video twice": (set_cell(kuairand.VIDEOS, 3, "video_id", "10"), [kuairand.VIDEOS, "'video_id'", "10", "once"]),
    "date": (set_cell(kuairand.VIDEOS, 1, "upload_dt", "April"), [kuairand.VIDEOS, "'upload_dt'", "yyyy-mm-dd"]),
    "negative duration": (set_cell(kuairand.VIDEOS, 1, "video_duration", "-5"), ["'video_duration'", "line 2"]),
    "infinite width": (set_cell(kuairand.VIDEOS, 2, "server_width", "inf"), ["'server_width'", "line 3", "finite"]),
    "short line": (lambda f: f[kuairand.LOG][3].pop(), [kuairand.LOG, "columns"]),
    "nothing after the start": (
        lambda f: f.update({kuairand.LOG: [f[kuairand.LOG][i] for i in (0, 2, 3)]}),
        [kuairand.LOG, "'date'", "20220425"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_its_column_and_what_was_expected(
    case: str, files: Files, write: Callable[..., Path]
) -> None:
    change, words = BAD[case]
    change(files)
    with pytest.raises(DataError) as error:
        kuairand.load(write(files))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("watch_seq", None, ["'watch_seq'", "missing"]),
        ("like_seq", [["10"]], ["'like_seq'", "list"]),
        ("long_watch_seq", [[99]], ["'long_watch_seq'", "99"]),
        ("user_id", [99], ["'user_id'", "99"]),
    ],
)
def test_a_bad_history_file_is_named_with_its_column_and_what_was_expected(
    column: str, values: list[object] | None, words: list[str], files: Files, write: Callable[..., Path]
) -> None:
    good: dict[str, list[object]] = {"user_id": [1], "history_len": [1]}
    good |= {name: [[10]] for name in ("watch_seq", "like_seq", "long_watch_seq")}
    bad = {name: cells for name, cells in {**good, column: values}.items() if cells is not None}
    folder = write(files)
    pa.parquet.write_table(pa.table(bad), folder / kuairand.HISTORY)
    with pytest.raises(DataError) as error:
        kuairand.load(folder)
    assert all(word in str(error.value) for word in [kuairand.HISTORY, *words]), str(error.value)


def test_a_history_file_that_is_not_parquet_is_named(files: Files, write: Callable[..., Path]) -> None:
    folder = write(files)
    (folder / kuairand.HISTORY).write_text("user_id,watch_seq\n")
    with pytest.raises(DataError, match=kuairand.HISTORY):
        kuairand.load(folder)
