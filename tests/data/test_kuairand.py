"""The preset kuairand: the dataset of files in the official layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from kuairand_files import (
    EARLIER_LOG,
    HISTORY,
    LOG,
    LOG_COLUMNS,
    Files,
    kuairand_files,
    load_kuairand,
    moment,
    shown,
)


@pytest.fixture
def files() -> Files:
    return kuairand_files()


def test_kuairand_rows_are_impressions_ordered_by_time(files: Files, write: Callable[..., Path]) -> None:
    e = load_kuairand(write(files)).exposures
    assert e.user_id.tolist() == [1, 2, 2, 3, 3, 2]
    assert e.work_id.tolist() == [10, 10, 11, 11, 12, 12]
    assert (np.diff(e.time_ms) > 0).all()
    assert (e.scene[0], e.play_ms[0]) == (4, 9000)
    assert {task: label.tolist() for task, label in e.labels.items() if label.any()} == {
        "click": [1, 0, 0, 0, 0, 1],
        "long_view": [1, 0, 0, 0, 0, 1],
        "like": [1, 0, 0, 0, 0, 1],
        "follow": [0, 0, 0, 0, 1, 0],
    }


def test_kuairand_split_begins_at_midnight_in_china(files: Files, write: Callable[..., Path]) -> None:
    dataset = load_kuairand(write(files))
    train, valid, test = dataset.split()
    assert [len(train), len(valid), len(test)] == [2, 2, 2]
    assert dataset.tasks == ("click", "long_view", "like")


def test_kuairand_snapshot_has_only_earlier_rows(files: Files, write: Callable[..., Path]) -> None:
    s = load_kuairand(write(files)).snapshot
    assert s.time_ms == moment(4, 25, 0)
    assert [s.relations["history"].row_values(row).tolist() for row in range(3)] == [[11], [], [10]]
    assert [s.relations["follows"].row_values(row).tolist() for row in range(3)] == [[7], [], []]
    assert not len(s.relations["liked"].values)
    assert s.works["count_exposed"].tolist() == [0, 1, 0]
    assert s.users["count_click"].tolist() == [1, 0, 0]
    assert s.user_scene_counters is not None
    by_tab = s.user_scene_counters["count_click"].reshape(3, 15)
    assert (by_tab.sum(axis=1).tolist(), by_tab[0, 6]) == ([1, 0, 0], 1)
    np.testing.assert_allclose(s.works["past_log_long_view"], np.log1p([1, 0, 0]))


def test_kuairand_columns_of_items_and_users(files: Files, write: Callable[..., Path]) -> None:
    s = load_kuairand(write(files)).snapshot

    def named(column: str) -> list[str]:
        return [s.labels[column][code] for code in s.works[column]]

    assert s.works["creator_id"].tolist() == [7, 7, 8]
    assert s.works["song_id"].tolist() == [555, -12, -13], (
        "a video without music shares its song with no other"
    )
    assert (named("tag"), named("tag2")) == (["39", "missing", "5"], ["68", "missing", "missing"])
    assert named("type") == ["NORMAL", "AD", "NORMAL"]
    assert named("music_type") == ["9.0", "missing", "4.0"]
    assert s.works["upload_ms"].tolist() == [moment(4, 10, 0), moment(4, 11, 0), 0]
    np.testing.assert_allclose(s.works["log_duration"], np.log1p([60.0, 0.0, 15.0]), rtol=1e-6)
    np.testing.assert_allclose(s.users["log_follow_user_num"], np.log1p([1, 2, 3]), rtol=1e-6)
    assert all(np.isfinite(column).all() for table in (s.works, s.users) for column in table.columns.values())


def test_past_rates_are_over_all_items_or_the_last_50(files: Files, write: Callable[..., Path]) -> None:
    """User 1 viewed 2 of 4 items long. The list of user 2 is full: 30 of the last 50 items."""
    few = [shown(1, 10 + i % 2, 409, moment(4, 9, 1) + i, long_view=i % 2) for i in range(4)]
    many = [shown(2, 12, 409, moment(4, 9, 2) + i, long_view=1) for i in range(30)]
    many += [shown(2, 12 - i % 5 // 3, 409, moment(4, 9, 3) + i, long_view=int(i % 5 < 3)) for i in range(50)]
    s = load_kuairand(write({**files, EARLIER_LOG: [list(LOG_COLUMNS), *few, *many]})).snapshot
    # Of the lists' 55 works, user 3's one of 04-23 among them, 33 were viewed long.
    for user, (long, n) in enumerate([(2, 4), (30, 50), (1, 1)]):
        expected = np.log((long / (33 / 55) + 10) / ((n - long) / (22 / 55) + 10))
        assert s.users["past_rate_long_view"][user] == pytest.approx(expected, rel=1e-5)
    for work, (long, n) in enumerate([(1, 3), (2, 22), (30, 30)]):
        expected = np.log((long / (33 / 55) + 10) / ((n - long) / (22 / 55) + 10))
        assert s.works["past_rate_long_view"][work] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(s.users["past_rate_like"], np.log(10 / (np.array([4, 80, 1]) + 10)), rtol=1e-4)


def test_kuairand_is_found_in_the_folder_data(files: Files, write: Callable[..., Path]) -> None:
    folder = write(files)
    (folder / "data").mkdir()
    for name in files:
        (folder / name).rename(folder / "data" / name)
    assert len(load_kuairand(folder).exposures) == 6


def test_past_lists_equal_those_of_the_earlier_log(files: Files, write: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    earlier = [
        shown(u, v, 409, moment(4, 9, 0) + i, long_view=long, is_like=like)
        for i, (u, v, long, like) in enumerate(
            zip(*rng.integers([1, 10, 0, 0], [4, 13, 2, 2], (400, 4)).T, strict=True)
        )
    ]
    earlier_log = [list(LOG_COLUMNS), *earlier]
    from_log = load_kuairand(write({**files, EARLIER_LOG: earlier_log}))
    rows = [list(map(int, row)) for row in [*earlier, files[LOG][2]]]
    at = {name: i for i, name in enumerate(LOG_COLUMNS)}

    def last(user: int, label: str | None) -> list[int]:
        return [r[1] for r in rows if r[0] == user and (label is None or r[at[label]])][-50:]

    table = pa.table(
        {
            "user_id": [3, 1, 2],
            "history_len": [sum(r[0] == user for r in rows) for user in (3, 1, 2)],
            "watch_seq": [last(user, None) for user in (3, 1, 2)],
            "like_seq": [last(user, "is_like") for user in (3, 1, 2)],
            "long_watch_seq": [last(user, "long_view") for user in (3, 1, 2)],
        }
    )
    folder = write(files)
    pa.parquet.write_table(table, folder / HISTORY)
    ready = load_kuairand(folder)
    for name in ("history", "liked"):
        a, b = from_log.snapshot.relations[name], ready.snapshot.relations[name]
        assert a.indptr.tolist() == b.indptr.tolist()
        assert a.values.tolist() == b.values.tolist()
    for table_a, table_b in (
        (from_log.snapshot.users, ready.snapshot.users),
        (from_log.snapshot.works, ready.snapshot.works),
    ):
        assert all(np.array_equal(table_a[name], table_b[name]) for name in table_a.columns)
