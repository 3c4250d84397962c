"""The KuaiRand loader: what of the official files becomes what, and what a bad file gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from karec.data import kuairand
from karec.errors import DataError
from karec.platform.dataset import Dataset

Files = dict[str, list[list[str]]]
CHINA = timezone(timedelta(hours=8))


def moment(month: int, day: int, hour: float) -> int:
    return int(datetime(2022, month, day, tzinfo=CHINA).timestamp() * 1000 + hour * 3_600_000)


def shown(user: int, video: int, date: int, time_ms: int, **said: int) -> list[str]:
    """A line of the log; ``said`` gives the labels that are 1, ``tab`` and ``play_time_ms``."""
    values = {"user_id": user, "video_id": video, "date": 20220000 + date, "time_ms": time_ms, **said}
    return [str(values.get(column, 0)) for column in kuairand.LOG_COLUMNS]


@pytest.fixture
def files() -> Files:
    """Three users, three videos, nine rows: one twice, one of 04-25 shown on the evening before, one of 04-23."""
    user_columns = ["user_id", *kuairand.USER_CATEGORIES, *kuairand.USER_NUMBERS]
    video_columns = ["video_id", "author_id", "video_type", "upload_dt", "upload_type", "music_id", "music_type", "tag"]
    click_like = shown(1, 10, 425, moment(4, 25, 9), is_click=1, long_view=1, is_like=1, tab=4, play_time_ms=9000)
    return {
        kuairand.USERS: [
            user_columns,
            *([str(user), *["x"] * 26, str(user), "0", "0", ""] for user in (1, 2, 3)),
        ],
        kuairand.VIDEOS: [
            [*video_columns, *kuairand.VIDEO_NUMBERS],
            ["10", "7", "NORMAL", "2022-04-10", "Web", "555", "9.0", '"39,68"', "60000.0", "720.0", "1280.0"],
            ["11", "7", "AD", "2022-04-11", "Kmovie", "0", "", "", "", "720.0", "1280.0"],
            ["12", "8", "NORMAL", "", "Web", "0", "4.0", "5", "15000.0", "720.0", "720.0"],
        ],
        kuairand.LOG: [
            list(kuairand.LOG_COLUMNS),
            shown(2, 12, 508, moment(5, 8, 20)),
            shown(3, 10, 423, moment(4, 23, 12), long_view=1, is_click=1),
            shown(1, 11, 425, moment(4, 24, 23.5), is_click=1, is_follow=1, tab=6),
            click_like,
            click_like,
            shown(2, 10, 504, moment(5, 4, 23.9)),
            shown(2, 11, 505, moment(5, 5, 0)),
            shown(3, 11, 506, moment(5, 6, 23.9)),
            shown(3, 12, 507, moment(5, 7, 0), is_follow=1),
        ],
    }


def test_rows_become_exposures_in_order_of_time_each_once(files: Files, write: Callable[..., Path]) -> None:
    e = kuairand.load(write(files)).exposures
    assert e.user_id.tolist() == [1, 2, 2, 3, 3, 2]
    assert e.work_id.tolist() == [10, 10, 11, 11, 12, 12]
    assert (np.diff(e.time_ms) > 0).all()
    assert (e.scene[0], e.play_ms[0]) == (4, 9000)
    assert {task: label.tolist() for task, label in e.labels.items() if label.any()} == {
        "click": [1, 0, 0, 0, 0, 0],
        "long_view": [1, 0, 0, 0, 0, 0],
        "like": [1, 0, 0, 0, 0, 0],
        "follow": [0, 0, 0, 0, 1, 0],
    }


def test_splits_fall_on_midnights_in_china(files: Files, write: Callable[..., Path]) -> None:
    dataset = kuairand.load(write(files))
    train, valid, test = dataset.split()
    assert [len(train), len(valid), len(test)] == [2, 2, 2]
    assert dataset.tasks == ("click", "long_view", "like")


def test_the_snapshot_knows_what_was_before_04_25_and_no_more(files: Files, write: Callable[..., Path]) -> None:
    s = kuairand.load(write(files)).snapshot
    assert s.time_ms == moment(4, 25, 0)
    assert [s.relations["history"].of(row).tolist() for row in range(3)] == [[11], [], [10]]
    assert [s.relations["follows"].of(row).tolist() for row in range(3)] == [[7], [], []]
    assert not len(s.relations["liked"].values)
    assert s.works["count_exposed"].tolist() == [0, 1, 0]
    assert s.users["count_click"].tolist() == [1, 0, 0]
    assert s.visits is not None
    by_tab = s.visits["count_click"].reshape(3, kuairand.N_TABS)
    assert (by_tab.sum(axis=1).tolist(), by_tab[0, 6]) == ([1, 0, 0], 1)
    np.testing.assert_allclose(s.works["past_log_long_view"], np.log1p([1, 0, 0]))


def test_columns_of_works_and_users(files: Files, write: Callable[..., Path]) -> None:
    s = kuairand.load(write(files)).snapshot

    def named(column: str) -> list[str]:
        return [s.labels[column][code] for code in s.works[column]]

    assert s.works["creator_id"].tolist() == [7, 7, 8]
    assert s.works["song_id"].tolist() == [555, -12, -13], "a video without music shares its song with no other"
    assert (named("tag"), named("tag2")) == (["39", "missing", "5"], ["68", "missing", "missing"])
    assert named("type") == ["NORMAL", "AD", "NORMAL"]
    assert named("music_type") == ["9.0", "missing", "4.0"]
    assert s.works["upload_ms"].tolist() == [moment(4, 10, 0), moment(4, 11, 0), 0]
    np.testing.assert_allclose(s.works["log_duration"], np.log1p([60.0, 0.0, 15.0]), rtol=1e-6)
    np.testing.assert_allclose(s.users["log_follow_user_num"], np.log1p([1, 2, 3]), rtol=1e-6)
    assert all(np.isfinite(column).all() for table in (s.works, s.users) for column in table.columns.values())


def test_earlier_rates_are_of_everything_shown_or_of_the_last_fifty(files: Files, write: Callable[..., Path]) -> None:
    """User 1 viewed 2 of 4 works long; user 2, whose list of 50 long views is full, only 30 of the last 50."""
    few = [shown(1, 10 + i % 2, 409, moment(4, 9, 1) + i, long_view=i % 2) for i in range(4)]
    many = [shown(2, 12, 409, moment(4, 9, 2) + i, long_view=1) for i in range(30)]
    many += [shown(2, 12 - i % 5 // 3, 409, moment(4, 9, 3) + i, long_view=int(i % 5 < 3)) for i in range(50)]
    s = kuairand.load(write({**files, kuairand.EARLIER_LOG: [list(kuairand.LOG_COLUMNS), *few, *many]})).snapshot
    # Of the lists' 55 works, user 3's one of 04-23 among them, 33 were viewed long.
    for user, (long, n) in enumerate([(2, 4), (30, 50), (1, 1)]):
        expected = np.log((long / (33 / 55) + 10) / ((n - long) / (22 / 55) + 10))
        assert s.users["past_rate_long_view"][user] == pytest.approx(expected, rel=1e-5)
    for work, (long, n) in enumerate([(1, 3), (2, 22), (30, 30)]):
        expected = np.log((long / (33 / 55) + 10) / ((n - long) / (22 / 55) + 10))
        assert s.works["past_rate_long_view"][work] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(s.users["past_rate_like"], np.log(10 / (np.array([4, 80, 1]) + 10)), rtol=1e-4)


def test_an_official_download_keeps_its_files_below_data(files: Files, write: Callable[..., Path]) -> None:
    folder = write(files)
    (folder / "data").mkdir()
    for name in files:
        (folder / name).rename(folder / "data" / name)
    assert len(kuairand.load(folder).exposures) == 6


def test_the_earlier_log_gives_the_same_histories_as_the_ready_made_file(
    files: Files, write: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    earlier = [
        shown(u, v, 409, moment(4, 9, 0) + i, long_view=long, is_like=like)
        for i, (u, v, long, like) in enumerate(
            zip(*rng.integers([1, 10, 0, 0], [4, 13, 2, 2], (400, 4)).T, strict=True)
        )
    ]
    earlier_log = [list(kuairand.LOG_COLUMNS), *earlier]
    from_log = kuairand.load(write({**files, kuairand.EARLIER_LOG: earlier_log}))
    rows = [list(map(int, row)) for row in [*earlier, files[kuairand.LOG][2]]]
    at = {name: i for i, name in enumerate(kuairand.LOG_COLUMNS)}

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
    pa.parquet.write_table(table, folder / kuairand.HISTORY)
    ready = kuairand.load(folder)
    for name in ("history", "liked"):
        a, b = from_log.snapshot.relations[name], ready.snapshot.relations[name]
        assert a.indptr.tolist() == b.indptr.tolist()
        assert a.values.tolist() == b.values.tolist()
    for table_a, table_b in (
        (from_log.snapshot.users, ready.snapshot.users),
        (from_log.snapshot.works, ready.snapshot.works),
    ):
        assert all(np.array_equal(table_a[name], table_b[name]) for name in table_a.columns)


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
    "empty cell": (set_cell(kuairand.LOG, 3, "video_id", ""), [kuairand.LOG, "'video_id'", "row 3", "empty"]),
    "label of 2": (set_cell(kuairand.LOG, 4, "is_click", "2"), [kuairand.LOG, "'is_click'", "row 4", "0 or 1"]),
    "seconds": (set_cell(kuairand.LOG, 1, "time_ms", "1650812741"), ["'time_ms'", "row 1", "milliseconds"]),
    "tab 15": (set_cell(kuairand.LOG, 1, "tab", "15"), [kuairand.LOG, "'tab'", "0 … 14"]),
    "negative play": (set_cell(kuairand.LOG, 1, "play_time_ms", "-1"), ["'play_time_ms'", "-1"]),
    "unknown video": (set_cell(kuairand.LOG, 2, "video_id", "99"), ["'video_id'", "row 2", "99", kuairand.VIDEOS]),
    "unknown user": (set_cell(kuairand.LOG, 2, "user_id", "99"), ["'user_id'", "row 2", "99", kuairand.USERS]),
    "video twice": (set_cell(kuairand.VIDEOS, 3, "video_id", "10"), [kuairand.VIDEOS, "'video_id'", "10", "once"]),
    "date": (set_cell(kuairand.VIDEOS, 1, "upload_dt", "April"), [kuairand.VIDEOS, "'upload_dt'", "yyyy-mm-dd"]),
    "negative duration": (set_cell(kuairand.VIDEOS, 1, "video_duration", "-5"), ["'video_duration'", "row 1"]),
    "infinite width": (set_cell(kuairand.VIDEOS, 2, "server_width", "inf"), ["'server_width'", "row 2", "finite"]),
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
def test_a_bad_history_file_is_named_too(
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


def test_a_history_file_that_is_not_parquet(files: Files, write: Callable[..., Path]) -> None:
    folder = write(files)
    (folder / kuairand.HISTORY).write_text("user_id,watch_seq\n")
    with pytest.raises(DataError, match=kuairand.HISTORY):
        kuairand.load(folder)


def test_progress_is_told(files: Files, write: Callable[..., Path]) -> None:
    told: list[tuple[int, int, str]] = []
    kuairand.load(write(files), lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(5))
    assert all(total == 4 and what for _, total, what in told)


@pytest.fixture(scope="module")
def real(kuairand_root: Path) -> Dataset:
    return kuairand.load(kuairand_root)


def test_the_real_log_loses_nothing_but_repeats(real: Dataset, kuairand_root: Path) -> None:
    folder = kuairand_root if (kuairand_root / kuairand.LOG).is_file() else kuairand_root / "data"
    raw = pa.csv.read_csv(folder / kuairand.LOG).to_pydict()
    distinct = {
        key[:3]
        for key in zip(raw["user_id"], raw["video_id"], raw["time_ms"], raw["date"], strict=True)
        if key[3] >= 20220425
    }
    before = [key for key in distinct if key[2] < moment(4, 25, 0)]
    assert len(real.exposures) == len(distinct) - len(before)
    assert real.snapshot.works["count_exposed"].sum() == len(before)
    keys = np.stack([real.exposures.user_id, real.exposures.work_id, real.exposures.time_ms])
    assert np.unique(keys, axis=1).shape[1] == len(real.exposures)


def test_the_date_of_the_real_log_is_the_day_in_china_or_the_next(kuairand_root: Path) -> None:
    """``date`` is the day on which a row was recorded: never before the exposure, and rarely the day after."""
    folder = kuairand_root if (kuairand_root / kuairand.LOG).is_file() else kuairand_root / "data"
    raw = pa.csv.read_csv(
        folder / kuairand.LOG, convert_options=pa.csv.ConvertOptions(include_columns=["date", "time_ms"])
    )
    date = raw["date"].to_numpy()
    days = np.array([np.datetime64(f"{d // 10000}-{d // 100 % 100:02d}-{d % 100:02d}") for d in np.unique(date)])
    recorded = days[np.searchsorted(np.unique(date), date)].astype(np.int64)
    in_china = (raw["time_ms"].to_numpy() + 8 * 3_600_000) // 86_400_000
    assert set(np.unique(recorded - in_china)) <= {0, 1}
    assert (recorded == in_china).mean() > 0.99


def test_the_real_splits_and_rates(real: Dataset) -> None:
    parts = real.split()
    assert [len(part) > 20_000 for part in parts] == [True, True, True]
    assert 0.43 < real.exposures.labels["click"].mean() < 0.46
    assert 0.30 < real.exposures.labels["long_view"].mean() < 0.33
    assert 0.015 < real.exposures.labels["like"].mean() < 0.02
    assert (np.diff(real.exposures.time_ms) >= 0).all()
    assert real.exposures.time_ms[0] >= real.snapshot.time_ms
