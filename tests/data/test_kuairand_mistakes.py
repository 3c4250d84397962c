"""A mistake in a KuaiRand file is reported with its file, row, column and the expected value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from kuairand_files import HISTORY, LOG, USERS, VIDEOS, Files, kuairand_files, load_kuairand

from karec.errors import DataError


@pytest.fixture
def files() -> Files:
    return kuairand_files()


def set_cell(name: str, row: int, column: str, value: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name][row][files[name][0].index(column)] = value

    return change


MISTAKES: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "no user file": (lambda f: f.pop(USERS), [USERS, "no such file"]),
    "header only": (lambda f: f.update({USERS: f[USERS][:1]}), [USERS, "no row"]),
    "empty cell": (set_cell(LOG, 3, "video_id", ""), [f"{LOG}:4", "'video_id'", "missing"]),
    "label of 2": (set_cell(LOG, 4, "is_click", "2"), [f"{LOG}:5", "'is_click'", "within 0 … 1"]),
    "seconds": (set_cell(LOG, 1, "time_ms", "1650812741"), [f"{LOG}:2", "'time_ms'", "before the year 1980"]),
    "another month": (set_cell(LOG, 1, "time_ms", "1660812741436"), [f"{LOG}:2", "'time_ms'", "2022-05-10"]),
    "another day": (set_cell(LOG, 1, "date", "20220506"), [f"{LOG}:2", "'date'", "not the day of the time"]),
    "tab 15": (set_cell(LOG, 1, "tab", "15"), [f"{LOG}:2", "'tab'", "scenes"]),
    "unknown video": (set_cell(LOG, 2, "video_id", "99"), [f"{LOG}:3", "the item is not in items"]),
    "unknown user": (set_cell(LOG, 2, "user_id", "99"), [f"{LOG}:3", "the user is not in users"]),
    "video twice": (set_cell(VIDEOS, 3, "video_id", "10"), [f"{VIDEOS}:4", "'video_id'", "twice"]),
    "half a pixel": (set_cell(VIDEOS, 2, "server_width", "1.5"), [f"{VIDEOS}:3", "not a whole number"]),
    "four tags": (set_cell(VIDEOS, 2, "tag", '"1,2,3,4"'), [f"{VIDEOS}:3", "'tag'", "not of the form"]),
    "no training": (lambda f: f.update({LOG: [f[LOG][i] for i in (0, 2, 2)]}), [LOG, "split.begin.training"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_in_a_file_is_reported_with_line_and_column(
    case: str, files: Files, write: Callable[..., Path]
) -> None:
    change, words = MISTAKES[case]
    change(files)
    with pytest.raises(DataError) as error:
        load_kuairand(write(files))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("watch_seq", None, ["no column 'watch_seq'"]),
        ("like_seq", [["10"]], ["'like_seq'", "integers"]),
        ("long_watch_seq", [[99]], ["row 1", "'long_watch_seq'", "not in items"]),
        ("user_id", [99], ["row 1", "'user_id'", "in no other table"]),
    ],
)
def test_mistake_in_past_lists_is_reported_with_row_and_column(
    column: str, values: list[object] | None, words: list[str], files: Files, write: Callable[..., Path]
) -> None:
    good: dict[str, list[object]] = {"user_id": [1], "history_len": [1]}
    good |= {name: [[10]] for name in ("watch_seq", "like_seq", "long_watch_seq")}
    bad = {name: cells for name, cells in {**good, column: values}.items() if cells is not None}
    folder = write(files)
    pa.parquet.write_table(pa.table(bad), folder / HISTORY)
    with pytest.raises(DataError) as error:
        load_kuairand(folder)
    assert all(word in str(error.value) for word in [HISTORY, *words]), str(error.value)
