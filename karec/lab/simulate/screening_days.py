"""A day's uploads pass screening before the next morning: ``karec.screening`` itself, on files, as ``karec
screen``.

Each day is a window of its own: ``keep`` is how many works of one day come onto the platform, and quotas are
shares of it. What was let in stays. What is refused is gone: nobody is shown it, and its creator has nothing
of it.

    ARM/screened/day-0003/uploads/day=…   what was uploaded on that day, as the platform knows it: COLUMNS
    ARM/screened/day-0003/kept.parquet, screen.json

Cost  some 0.1 s of a core a day, and 10 µs a work.
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
    """What uploads must pass in ``arm``, None for nothing; files that it names lie in ``folder``.
    ConfigError."""
    if arm.screen is None:
        return None
    place = Place(Path(f"the arm {arm.name!r}"))["screen"]
    given = {"folder": folder.absolute(), "uploads": UPLOADS, "learn": None, "missing_days": ()}
    settings = convert(ScreeningSettings, arm.screen, place, given=given)
    ages = {
        "rules": [rule.age_days for rule in settings.rules],
        "quotas": [quota.age_days for quota in settings.quotas],
    }
    for what, days in ages.items():
        for at in (at for at, age_days in enumerate(days) if age_days is not None):
            raise place[what][at].refusal("age_days has no meaning here: each day is screened by itself")
    return settings


def files_of(settings: ScreeningSettings) -> dict[str, str]:
    """{name: digest} of the files that ``settings`` name. ConfigError: one cannot be read."""
    named = [*(rule.not_in for rule in settings.rules), settings.quality.model]
    digests = {}
    for name in filter(None, named):
        try:
            digests[name] = hashlib.sha256((settings.folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"{settings.folder / name} cannot be read: {error.strerror}") from error
    return digests


def check_screening(arm: Arm, settings: ScreeningSettings, population: Population) -> None:
    """Screens all that may be uploaded on the first day. ConfigError: ``settings`` do not fit to COLUMNS or
    to the files that they name. MissingExtra.
    """
    creators = Creators.at_start(population.potential, population.seen)
    creators = replace(creators, upload_day=np.where(population.potential.day == 0, 0, creators.upload_day))
    with tempfile.TemporaryDirectory(prefix="karec-screened-") as folder:
        try:
            screened_day(settings, Path(folder), 0, creators, population.snapshot, population)
        except KarecError as error:
            if isinstance(error, ImportError):
                raise
            raise ConfigError(
                f"the arm {arm.name!r}: screen: {str(error).replace(f'{folder}/', '')}"
            ) from error


def screened_day(
    settings: ScreeningSettings,
    place: Path,
    day: int,
    creators: Creators,
    snapshot: Snapshot,
    population: Population,
) -> Creators:
    """``creators``, who have uploaded the works of ``day``, without those that screening refuses.
    ``snapshot``: the platform as the day began. Writes ``place/day-….``
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
    return creators.without(np.setdiff1d(works, kept))


def told_of(place: Path, days: int, creators: Creators, population: Population) -> dict[str, Any]:
    """What became of the uploads of ``days`` days: how many there were and were kept, how many each reason
    rejected, on how many days a quota was not met, and the mean hidden quality of what was kept and of what
    was not.
    """
    rejected, unmet = Counter[str](), Counter[str]()
    for out in (_folder(place, day) for day in range(days)):
        if out.is_dir():
            found = read_result(out)
            total = found.total()
            rejected.update({reason: total[reason] for reason in found.reasons})
            unmet.update(quota["name"] for quota in found.quotas if quota["violation"])
    quality, of = population.truth.works.quality, creators.upload_day
    kept, refused = quality[(of >= 0) & (of < days)], quality[of == REFUSED]
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
    """{each of COLUMNS: (N,)} of the works ``rows``, as of the beginning of ``day``."""
    works, potential, users = snapshot.works, population.potential, snapshot.users
    owner, n = potential.rows_of(potential.creator[rows]), len(potential.creators)
    there = np.flatnonzero(creators.upload_day < day)
    of = potential.rows_of(potential.creator[there])
    first_ms = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first_ms, of, works["upload_ms"][there])
    followed = users.lookup(snapshot.relations["follows"].values)
    followers = np.bincount(followed[followed >= 0], minlength=len(users))[potential.creator[rows]]
    since = np.maximum(works["upload_ms"][rows] - first_ms[owner], 0) // DAY_MS
    texts = {name: (works[name][rows], list(snapshot.labels[name])) for name in ("type", "tag", "era")}
    columns = {name: works[name][rows] for name in COLUMNS if name in works.columns and name not in texts}
    return {
        "work_id": works.ids[rows],
        **columns,
        **texts,
        "duration_s": np.expm1(works["log_duration"][rows]).astype(np.float32),
        "creator_followers": followers,
        "creator_works": np.bincount(of, minlength=n)[owner],
        "creator_days": since,
    }


def _folder(place: Path, day: int) -> Path:
    return place / f"day-{day:04d}"
