"""KuaiRand-Pure (Gao et al., CIKM 2022): real exposures of a short-video platform, from the official file layout.

    log_standard_4_22_to_5_08_pure.csv    exposures with feedback; ``tab`` is the scene
    log_standard_4_08_to_4_21_pure.csv    optional: earlier exposures, they become histories
    user_history_to_4_24.parquet          optional, not official: those histories ready made
    user_features_pure.csv, video_features_basic_pure.csv

The snapshot is the platform at 2022-04-25 00:00 China time. A row of the log belongs to the histories when its
``date`` is before 04-25. ``date`` is when the row was recorded, ``time_ms`` when the video was shown, up to two hours
before: the few rows of 04-25 that were shown on the evening before go into the snapshot, not into the exposures. The
statistics file is not read: its counts cover the whole month, and so the future of most rows.
"""

from __future__ import annotations

import os
import re
from datetime import date as calendar_date
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from karec._clock import DAY_MS, HOUR_MS, Progress
from karec.data.kuairand_history import Past, past_from_log, past_from_parquet
from karec.data.tabular import (
    MISSING,
    categories,
    empty_cells,
    read_columns,
    require,
    require_ids,
    require_texts,
    single_texts,
)
from karec.errors import DataError
from karec.platform.dataset import Dataset
from karec.platform.events import Exposures
from karec.platform.folds.advance import advance
from karec.platform.relations import Relation
from karec.platform.schema import Meaning
from karec.platform.snapshot import Snapshot
from karec.platform.table import Table
from karec.types import Array

LOG = "log_standard_4_22_to_5_08_pure.csv"
EARLIER_LOG = "log_standard_4_08_to_4_21_pure.csv"
HISTORY = "user_history_to_4_24.parquet"
USERS = "user_features_pure.csv"
VIDEOS = "video_features_basic_pure.csv"

TASKS = ("click", "long_view", "like")
WEIGHTS = {"like": 2.0}
MEANING = Meaning(enjoyed=("click", "long_view"), liked=("like",), followed=("follow",))
LABELS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hate": "is_hate",
    "profile_enter": "is_profile_enter",
}
LOG_COLUMNS = ("user_id", "video_id", "date", "time_ms", *LABELS.values(), "play_time_ms", "tab")
USER_NAMES = (
    *("user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range"),
    "register_days_range",
)
USER_CATEGORIES = (
    *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author", *USER_NAMES[1:]),
    *(f"onehot_feat{i}" for i in range(18)),
)
VIDEO_NAMES = ("video_type", "upload_type")
MOST = 10**9  # of anything counted
USER_NUMBERS = {"follow_user_num": MOST, "fans_user_num": MOST, "friend_user_num": MOST, "register_days": 36_525}
VIDEO_NUMBERS = {"video_duration": DAY_MS, "server_width": 100_000, "server_height": 100_000}
UNKNOWN_CODE = "-124"
CODE = rf"([0-9]{{1,9}}(\.0)?|{UNKNOWN_CODE})?", f"a whole number ≥ 0, {UNKNOWN_CODE} for unknown, or nothing"
TAGS = r"([0-9]{1,9}(,[0-9]{1,9}){0,2})?", "up to three whole numbers ≥ 0 with commas between, or nothing"
N_TABS = 15
CHINA = timezone(timedelta(hours=8))


def _day(month: int, day: int) -> int:
    return int(datetime(2022, month, day, tzinfo=CHINA).timestamp() * 1000)


START_DATE, START_MS = 20220425, _day(4, 25)
TRAIN_UNTIL_MS, VALID_UNTIL_MS = _day(5, 5), _day(5, 7)
FIRST_MS, LAST_MS = _day(4, 1), _day(5, 10)


def load(root: Path, progress: Progress | None = None) -> Dataset:
    """The dataset in ``root``, the folder with the files or the official folder above its ``data/``.

    Train 04-25 … 05-04, validation 05-05 and 06, test 05-07 and 08, by China time. Rows that repeat (user, video,
    time_ms) count once. ``history`` starts as the last 50 videos viewed long before 04-25 (the ready-made file has no
    clicks), ``liked`` as the last 50 liked; ``skipped`` and ``follows`` start empty. The dataset's ``notes`` count what
    was dropped or taken as unknown. Raises DataError naming file, column, line and what was expected.
    """
    folder = _folder(Path(root))
    say = progress or _silent
    say(0, 4, "users and videos")
    users, user_names, user_notes = _users(folder / USERS)
    works, work_names, work_notes = _works(folder / VIDEOS)
    say(1, 4, "exposures")
    path = folder / LOG
    log, date, log_notes = read_log(path, users, works)
    before = date < START_DATE
    say(2, 4, "histories")
    past, past_notes = _past(folder, log.take(before), users, works)
    say(3, 4, "snapshot")
    shown = log.take(~before)
    base = Snapshot(
        time_ms=min(START_MS, int(shown.time_ms.min(initial=START_MS))),
        works=Table(works.ids, {**works.columns, **past.work_columns}),
        users=Table(users.ids, {**users.columns, **past.user_columns}),
        relations={"history": past.history, "liked": past.liked, "skipped": _empty(users), "follows": _empty(users)},
        labels={**user_names, **work_names, "scene": [f"tab{i}" for i in range(N_TABS)]},
        meaning=MEANING,
    )
    exposures = shown.take(shown.time_ms >= START_MS)
    if not len(exposures):
        raise DataError(f"{path}: column 'date': no row from {START_DATE} on; expected {START_DATE} … 20220508")
    snapshot = advance(base, shown, START_MS)
    say(4, 4, "done")
    notes = (*user_notes, *work_notes, *log_notes, *past_notes)
    return Dataset("kuairand-pure", snapshot, exposures, TRAIN_UNTIL_MS, VALID_UNTIL_MS, TASKS, WEIGHTS, notes)


def read_log(path: Path, users: Table, works: Table) -> tuple[Exposures, Array, list[str]]:
    """(exposures in order of time, their ``date`` (M,) int64 as yyyymmdd, what was dropped), checked.

    Dropped are repeats of (user, video, time_ms), the first in the file being kept, and rows whose ``date`` is neither
    the day of ``time_ms`` in China nor the next.
    """
    raw = read_columns(path, dict.fromkeys(LOG_COLUMNS, int))
    for column in LABELS.values():
        require(path, column, (raw[column] == 0) | (raw[column] == 1), "0 or 1", raw[column])
    time = raw["time_ms"]
    require(path, "time_ms", (time >= FIRST_MS) & (time < LAST_MS), "Unix milliseconds of April or May 2022", time)
    require(path, "tab", (raw["tab"] >= 0) & (raw["tab"] < N_TABS), f"0 … {N_TABS - 1}", raw["tab"])
    play = raw["play_time_ms"]
    require(path, "play_time_ms", (play >= 0) & (play <= DAY_MS), f"milliseconds, 0 … {DAY_MS}", play)
    days_late = _day_number(path, raw["date"]) - (time + 8 * HOUR_MS) // DAY_MS
    require(path, "user_id", users.lookup(raw["user_id"]) >= 0, f"a user of {USERS}", raw["user_id"])
    require(path, "video_id", works.lookup(raw["video_id"]) >= 0, f"a video of {VIDEOS}", raw["video_id"])
    keys = np.stack([time, raw["user_id"], raw["video_id"]])
    order = np.lexsort(keys[::-1])
    first = np.ones(len(order), bool)
    first[1:] = (keys[:, order[1:]] != keys[:, order[:-1]]).any(axis=0)
    believed = (days_late == 0) | (days_late == 1)
    kept = order[first & believed[order]]
    values = np.stack([raw[column] for column in LOG_COLUMNS])[:, order]
    other = ~first[1:] & (values[:, 1:] != values[:, :-1]).any(axis=0)
    notes = [
        f"{path.name}: {len(time)} rows read, {(~first).sum()} dropped that repeat (user, video, time_ms), "
        f"{other.sum()} of them with other values"
    ]
    if not believed.all():
        notes.append(f"{path.name}: {(~believed).sum()} rows dropped whose date is not the day of time_ms or the next")
    exposures = Exposures(
        user_id=raw["user_id"][kept],
        work_id=raw["video_id"][kept],
        time_ms=time[kept],
        scene=raw["tab"][kept].astype(np.int32),
        labels={task: raw[column][kept].astype(np.uint8) for task, column in LABELS.items()},
        play_ms=raw["play_time_ms"][kept],
    )
    return exposures, raw["date"][kept], notes


def _day_number(path: Path, date: Array) -> Array:
    """(M,) int64: days since 1970 of ``date``, yyyymmdd."""
    month, day = date // 100 - 202200, date % 100
    good = ((month == 4) & (day >= 1) & (day <= 30)) | ((month == 5) & (day >= 1) & (day <= 9))
    require(path, "date", good, "20220401 … 20220509", date)
    return np.asarray(int(np.datetime64("2022-04-01").astype(np.int64)) + (month - 4) * 30 + day - 1)


def _silent(done: int, total: int, what: str) -> None:
    pass


def _folder(root: Path) -> Path:
    for folder in (root, root / "data"):
        if os.path.lexists(folder / LOG):
            return folder
    raise DataError(f"{root / LOG} is missing, and so is {root / 'data' / LOG}; expected KuaiRand-Pure's log")


def _past(folder: Path, before: Exposures, users: Table, works: Table) -> tuple[Past, list[str]]:
    """From the ready-made histories where there are any, then the earlier log, then the rows before 04-25 alone."""
    if os.path.lexists(folder / HISTORY):
        return past_from_parquet(folder / HISTORY, users, works)
    if not os.path.lexists(folder / EARLIER_LOG):
        note = f"neither {HISTORY} nor {EARLIER_LOG}: histories hold {len(before)} rows of {LOG} before {START_DATE}"
        return past_from_log([before], users, works), [note]
    earlier, date, notes = read_log(folder / EARLIER_LOG, users, works)
    if (date >= START_DATE).any():
        raise DataError(
            f"{folder / EARLIER_LOG}: column 'date': {date.max()}, from the days to be learned; expected days before "
            f"{START_DATE}"
        )
    return past_from_log([earlier, before], users, works), notes


def _empty(users: Table) -> Relation:
    return Relation(np.zeros(len(users) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def _users(path: Path) -> tuple[Table, dict[str, list[str]], list[str]]:
    """(users, names of their categories' codes, what is unknown)."""
    kinds: dict[str, type] = {
        "user_id": int,
        **dict.fromkeys(USER_CATEGORIES, str),
        **dict.fromkeys(USER_NUMBERS, float),
    }
    raw = read_columns(path, kinds)
    require_ids(path, "user_id", raw["user_id"])
    columns: dict[str, Array] = {}
    names: dict[str, list[str]] = {}
    for name in USER_CATEGORIES:
        require_texts(path, name, raw[name], *(() if name in USER_NAMES else CODE))
        columns[name], names[name] = categories(raw[name])
    for name, most in USER_NUMBERS.items():
        columns[f"log_{name}"] = np.log1p(_number(path, name, raw[name], most)).astype(np.float32)
    return Table(raw["user_id"], columns), names, [*empty_cells(path, raw), *single_texts(path, raw, USER_NAMES)]


def _works(path: Path) -> tuple[Table, dict[str, list[str]], list[str]]:
    """(videos, names of their categories' codes, what is unknown)."""
    kinds: dict[str, type] = {
        **dict.fromkeys(("video_id", "author_id", "music_id"), int),
        **dict.fromkeys((*VIDEO_NAMES, "upload_dt", "music_type", "tag"), str),
        **dict.fromkeys(VIDEO_NUMBERS, float),
    }
    raw = read_columns(path, kinds)
    require_ids(path, "video_id", raw["video_id"])
    require(path, "author_id", raw["author_id"] >= 0, "an id ≥ 0", raw["author_id"])
    require(path, "music_id", raw["music_id"] >= 0, "an id ≥ 0, 0 without music", raw["music_id"])
    require_texts(path, "tag", raw["tag"], *TAGS)
    require_texts(path, "music_type", raw["music_type"], *CODE)
    for name in VIDEO_NAMES:
        require_texts(path, name, raw[name])
    columns, names = _tags(raw["tag"])
    for name, column in (("type", "video_type"), ("upload_type", "upload_type"), ("music_type", "music_type")):
        columns[name], names[name] = categories(raw[column])
    duration, width, height = (_number(path, name, raw[name], most) for name, most in VIDEO_NUMBERS.items())
    columns |= {
        "creator_id": raw["author_id"],
        # a negative code of its own for each video without music: "unknown" must not be one song to the feed's rules
        "song_id": np.where(raw["music_id"] > 0, raw["music_id"], -1 - raw["video_id"]),
        "upload_ms": _upload_ms(path, raw["upload_dt"]),
        "log_duration": np.log1p(duration / 1000.0).astype(np.float32),
        "log_aspect": np.log((width + 1.0) / (height + 1.0)).astype(np.float32),
    }
    return Table(raw["video_id"], columns), names, [*empty_cells(path, raw), *single_texts(path, raw, VIDEO_NAMES)]


def _number(path: Path, name: str, values: Array, most: int) -> Array:
    """The numbers, 0 where one is missing."""
    good = np.isnan(values) | ((values >= 0) & (values <= most) & (values == np.floor(values)))
    require(path, name, good, f"a whole number, 0 … {most}, or nothing", values)
    return np.nan_to_num(values)


def _tags(texts: Array) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """Codes of the columns tag, tag2, tag3, which share one list of names; a video has up to three tags, "39,68"."""
    parts = [text.split(",") for text in texts]
    wide = np.array([[row[i] if i < len(row) else "" for i in range(3)] for row in parts], object)
    codes, names = categories(wide.ravel())
    codes = codes.reshape(-1, 3)
    columns = {name: np.ascontiguousarray(codes[:, i]) for i, name in enumerate(("tag", "tag2", "tag3"))}
    return columns, dict.fromkeys(columns, names)


def _upload_ms(path: Path, dates: Array) -> Array:
    """(N,) int64: the midnight in China on which each of ``dates`` (yyyy-mm-dd) begins, 0 for an empty one."""
    codes, texts = categories(dates)
    moments = np.array([0 if text == MISSING else _midnight(text) for text in texts], np.int64)
    good = (moments >= 0) & (moments < LAST_MS)
    require(path, "upload_dt", good[codes], "a day from 2000-01-01 to 2022-05-09 as yyyy-mm-dd, or nothing", dates)
    return moments[codes]


def _midnight(text: str) -> int:
    """Unix milliseconds; −1 when ``text`` is no day of this century as yyyy-mm-dd."""
    try:
        day = calendar_date.fromisoformat(text if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else "")
    except ValueError:
        return -1
    return -1 if day.year < 2000 else (day - calendar_date(1970, 1, 1)).days * DAY_MS - 8 * HOUR_MS
