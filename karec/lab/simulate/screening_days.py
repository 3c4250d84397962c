"""Screening of a day's uploads before the next morning, by ``karec.screening`` on files like ``karec
screen``.

Each day is a window of its own: ``keep`` is the number of works of one day that are published, and quotas are
fractions of it. Accepted works stay. A rejected work is gone: it is never shown and does nothing for its
creator.

    ARM/screened/day-0003/uploads/day=…   uploads of this day with the platform's columns COLUMNS
    ARM/screened/day-0003/kept.parquet, screen.json

Cost: about 0.1 s of a core per day, and 10 µs per work.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.errors import ConfigError, KarecError
from karec.lab.simulate.arm_log import REFUSED
from karec.lab.simulate.arms import Arm
from karec.lab.simulate.day_shards import write_day_shards
from karec.lab.simulate.population import Population
from karec.lab.simulate.uploads import Creators
from karec.screening.screen import KEPT, read_result, screen
from karec.screening.selection import kept_ids
from karec.screening.settings import ScreeningSettings
from karec.times import DAY_MS
from karec.toml import Place, convert

UPLOADS = "uploads"
COLUMNS = (
    *(
        "work_id",
        "creator_id",
        "song_id",
        "upload_ms",
        "type",
        "tag",
        "era",
        "city",
        "duration_s",
        "voice_score",
    ),
    *("creator_followers", "creator_works", "creator_days"),
)


def screening_of(arm: Arm, folder: Path) -> ScreeningSettings | None:
    """Returns the screening of uploads in ``arm``, None without; its files are in ``folder``.

    Raises ConfigError for invalid settings.
    """
    if arm.screen is None:
        return None
    place = Place(Path(f"arm {arm.name!r}"))["screen"]
    given = {"folder": folder.absolute(), "uploads": UPLOADS, "learn": None, "missing_days": ()}
    settings = convert(ScreeningSettings, arm.screen, place, given=given)
    ages = {
        "rules": [rule.age_days for rule in settings.rules],
        "quotas": [quota.age_days for quota in settings.quotas],
    }
    for table, days in ages.items():
        for number in (number for number, age_days in enumerate(days) if age_days is not None):
            raise place[table][number].refusal(
                "age_days has no meaning in a simulation: each day is screened by itself"
            )
    return settings


def digests_of(settings: ScreeningSettings) -> dict[str, str]:
    """Returns {name: digest} of the files in ``settings``. Raises ConfigError if one cannot be read."""
    named = [*(rule.not_in for rule in settings.rules), settings.quality.model]
    digests = {}
    for name in filter(None, named):
        try:
            digests[name] = hashlib.sha256((settings.folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"{settings.folder / name} cannot be read: {error.strerror}") from error
    return digests


def check_screening(arm: Arm, settings: ScreeningSettings, population: Population) -> None:
    """Screens all potential uploads of the first day.

    Raises ConfigError if ``settings`` do not fit COLUMNS or their files, MissingExtra if DuckDB is missing.
    """
    creators = Creators.from_potential(population.potential, population.seen)
    creators = replace(creators, upload_day=np.where(population.potential.day == 0, 0, creators.upload_day))
    with tempfile.TemporaryDirectory(prefix="karec-screened-") as folder:
        try:
            screen_day(settings, Path(folder), 0, creators, population.snapshot, population)
        except KarecError as error:
            if isinstance(error, ImportError):
                raise
            raise ConfigError(f"arm {arm.name!r}: screen: {str(error).replace(f'{folder}/', '')}") from error


def screen_day(
    settings: ScreeningSettings,
    place: Path,
    day: int,
    creators: Creators,
    snapshot: Snapshot,
    population: Population,
) -> Creators:
    """Returns ``creators``, who have uploaded the works of ``day``, without the works that screening rejects.

    ``snapshot``: the platform at the beginning of the day. Writes ``place/day-…``.
    """
    works = np.flatnonzero(creators.upload_day == day)
    if not len(works):
        return creators
    out = _folder(place, day)
    shutil.rmtree(out, ignore_errors=True)
    date = datetime.fromtimestamp((population.first_ms + day * DAY_MS) / 1000.0, UTC).date()
    write_day_shards(out / UPLOADS, date, _columns(works, day, creators, snapshot, population))
    screen(settings.replace(uploads=str((out / UPLOADS).absolute())), out)
    kept = population.snapshot.works.lookup(kept_ids(out / KEPT))
    return creators.without_works(np.setdiff1d(works, kept))


def screening_report(place: Path, days: int, creators: Creators, population: Population) -> dict[str, Any]:
    """Returns the results of screening over ``days`` days.

    They are the numbers of uploads and kept works, rejections by reason, days with an unmet quota, and the
    mean hidden quality of the kept and of the rejected works.
    """
    rejected, unmet = Counter[str](), Counter[str]()
    for out in (_folder(place, day) for day in range(days)):
        if out.is_dir():
            screened = read_result(out)
            total = screened.total()
            rejected.update({reason: total[reason] for reason in screened.reasons})
            unmet.update(quota["name"] for quota in screened.quotas if quota["violation"])
    quality, upload_day = population.truth.works.quality, creators.upload_day
    kept, refused = quality[(upload_day >= 0) & (upload_day < days)], quality[upload_day == REFUSED]
    return {
        "uploads": len(kept) + len(refused),
        "kept": len(kept),
        "rejected": dict(rejected),
        "unmet": dict(unmet),
        "quality_kept": float(kept.mean()) if len(kept) else None,
        "quality_rejected": float(refused.mean()) if len(refused) else None,
    }


def _columns(
    rows: NDArray[Any], day: int, creators: Creators, snapshot: Snapshot, population: Population
) -> dict[str, NDArray[Any] | tuple[NDArray[Any], list[str]]]:
    """Returns {name of COLUMNS: (N,)} of the works ``rows`` at the beginning of ``day``."""
    works, potential, users = snapshot.works, population.potential, snapshot.users
    owner, n = potential.find_rows(potential.creator[rows]), len(potential.creators)
    uploaded = np.flatnonzero(creators.upload_day < day)
    owners = potential.find_rows(potential.creator[uploaded])
    first_ms = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first_ms, owners, works["upload_ms"][uploaded])
    followed = users.lookup(snapshot.relations["follows"].values)
    followers = np.bincount(followed[followed >= 0], minlength=len(users))[potential.creator[rows]]
    creator_days = np.maximum(works["upload_ms"][rows] - first_ms[owner], 0) // DAY_MS
    texts = {name: (works[name][rows], list(snapshot.labels[name])) for name in ("type", "tag", "era")}
    columns = {name: works[name][rows] for name in COLUMNS if name in works.columns and name not in texts}
    return {
        "work_id": works.ids[rows],
        **columns,
        **texts,
        "duration_s": np.expm1(works["log_duration"][rows]).astype(np.float32),
        "creator_followers": followers,
        "creator_works": np.bincount(owners, minlength=n)[owner],
        "creator_days": creator_days,
    }


def _folder(place: Path, day: int) -> Path:
    return place / f"day-{day:04d}"
