"""What later became of works, beside what was known of them: rows that the quality model learns from, and
what became of those that screening let through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import ConfigError, DataError
from karec.screening.database import Database, name, scan, told
from karec.screening.library import IDS, Day, Kind, check_days, day_folders, needs, read_day
from karec.screening.quality import needed, numbers
from karec.screening.rules import Blocked, reasons
from karec.screening.rules import needed as needed_by_rules
from karec.screening.selection import KEPT_DAY, KEPT_ID
from karec.screening.settings import Learn, Settings

COUNTS: tuple[Kind, ...] = ("integer",)


@dataclass(frozen=True)
class Outcome:
    """A day whose outcomes are known."""

    uploads: Day
    outcomes: Day

    @property
    def day(self) -> date:
        return self.uploads.day


def learn_of(settings: Settings, path: Path) -> Learn:
    """The table ``[learn]``; ConfigError where there is none."""
    if settings.learn is None:
        raise ConfigError(
            f"{path}: the table 'learn' is missing: it says where outcomes are and what is learned from"
        )
    return settings.learn


def read_outcomes(settings: Settings, learn: Learn) -> list[Outcome]:
    """The days that have both uploads and outcomes, whose columns are checked. DataError."""
    uploads = day_folders(settings.folder / settings.uploads)
    outcomes = day_folders(settings.folder / learn.outcomes)
    both = sorted(set(uploads) & set(outcomes))
    if not both:
        raise DataError(f"no day has both uploads and outcomes: {settings.folder / learn.outcomes}")
    found = [Outcome(read_day(day, uploads[day]), read_day(day, outcomes[day])) for day in both]
    wanted = needs(chain([(settings.columns.work, IDS)], needed_by_rules(settings)))
    check_days([each.uploads for each in found], wanted)
    later = {learn.work: IDS, learn.exposures: COUNTS, learn.long_views: COUNTS}
    check_days([each.outcomes for each in found], later)
    return found


def holes(days: Sequence[Outcome], missing: Collection[date]) -> list[str]:
    """A note for each day between the first and the last of ``days`` that is not among them; those
    ``missing`` are known to be.
    """
    there = {each.day for each in days} | set(missing)
    between = (days[0].day + timedelta(n) for n in range((days[-1].day - days[0].day).days))
    return [f"{day} is left out: it has no outcomes, or no uploads" for day in between if day not in there]


@dataclass(frozen=True, eq=False)
class LearningRows:
    """N works that passed the rules and had a fair exposure: ``features (N, F) float32``, NaN where a cell is
    missing; ``exposures``, ``long_views (N,)``.
    """

    features: NDArray[Any]
    exposures: NDArray[Any]
    long_views: NDArray[Any]


def learning_rows(
    database: Database,
    settings: Settings,
    learn: Learn,
    days: Sequence[Outcome],
    blocked: Mapping[str, Blocked],
    most: int,
) -> LearningRows:
    """Of ``days``, one of so many works, by a hash of the id, that about ``most`` are left. DataError: a
    count of long views above that of exposures, or below 0.
    """
    check_days([each.uploads for each in days], needs(needed(learn.features)))
    every = max(-(-sum(each.uploads.rows for each in days) // most), 1)
    shown, viewed = name(learn.exposures), name(learn.long_views)
    parts = []
    for each in days:
        why = reasons(settings, each.uploads.kinds, blocked)
        features = ", ".join(f"u.{name(column)}" for column in learn.features)
        work = f"u.{name(settings.columns.work)}"
        query = (
            f"SELECT {features}, o.{shown} AS {name(SHOWN)}, o.{viewed} AS {name(VIEWED)} FROM (SELECT * "
            f"FROM {scan(each.uploads.paths)} WHERE {why.sql} = 0) AS u JOIN {scan(each.outcomes.paths)} AS "
            f"o ON {work} = o.{name(learn.work)} WHERE o.{shown} >= {learn.fair} AND hash({work}) % {every} "
            f"= 0 ORDER BY {work}"
        )
        folder = each.outcomes.shards[0].path.parent
        with told(folder):
            odd = database.rows(
                f"SELECT {name(learn.work)} FROM {scan(each.outcomes.paths)} "
                f"WHERE {viewed} < 0 OR {viewed} > {shown} LIMIT 1"
            )
            if odd:
                raise DataError(
                    f"{folder}: work {odd[0][0]} has more {learn.long_views} than {learn.exposures}"
                )
            for batch in database.batches(query):
                matrix = np.stack([numbers(batch.column(at)) for at in range(len(learn.features))], axis=1)
                counts = [batch.column(key).to_numpy(zero_copy_only=False) for key in (SHOWN, VIEWED)]
                parts.append((matrix, *counts))
    if not parts:
        names = f"{days[0].day} … {days[-1].day}"
        raise DataError(
            f"no work of {names} passed the rules and had {learn.fair} exposures: lower learn.fair"
        )
    return LearningRows(*(np.concatenate(each) for each in zip(*parts, strict=True)))


SHOWN, VIEWED = "karec.exposures", "karec.long_views"


@dataclass(frozen=True, eq=False)
class PopularDay:
    """A day of the window, and the works of it that became popular. ``uploads``, ``candidates``, ``kept``:
    works; ``popular``: those of them that did, and of these ``rejected`` by rule, ``quality (P,)`` of the
    candidates and ``popular_kept``.
    """

    day: date
    uploads: int
    passed: int
    kept: int
    popular: int
    rejected: Mapping[str, int]
    quality: NDArray[Any]
    popular_kept: int


def popular_from(database: Database, learn: Learn, days: Sequence[Outcome], share: float) -> int:
    """Long views from which a work is among the ``share`` of all works of ``days`` that had the most."""
    paths = [path for each in days for path in each.outcomes.paths]
    with told(days[0].outcomes.shards[0].path.parent):
        counts = database.rows(
            f"SELECT {name(learn.long_views)} AS n, count(*) FROM {scan(paths)} GROUP BY 1 ORDER BY 1 DESC "
            f"NULLS LAST"
        )
    total, so_far = sum(count for _, count in counts), 0
    for long_views, count in counts:
        so_far += count
        if so_far >= share * total or long_views is None:
            return int(long_views or 0)
    return 0


def popular_day(
    database: Database,
    settings: Settings,
    learn: Learn,
    each: Outcome,
    blocked: Mapping[str, Blocked],
    candidates: Path,
    kept: Path,
    least: int,
) -> PopularDay:
    """``candidates``: the day's file; ``kept``: the window's; popular: ``least`` long views or more."""
    why, work = reasons(settings, each.uploads.kinds, blocked), name(settings.columns.work)
    on_day = f"FROM {scan([str(kept)])} WHERE {name(KEPT_DAY)} = DATE '{each.day}'"
    among = f"IN (SELECT {name(learn.work)} FROM popular)"
    with told(each.outcomes.shards[0].path.parent):
        database.run(
            f"CREATE OR REPLACE TEMP TABLE popular AS SELECT DISTINCT {name(learn.work)} FROM "
            f"{scan(each.outcomes.paths)} WHERE {name(learn.long_views)} >= {least}"
        )
        uploads = scan(each.uploads.paths)
        by_rule = dict(
            database.rows(
                f"SELECT {why.sql} AS reason, count(*) FROM {uploads} WHERE {work} {among} GROUP BY 1"
            )
        )
        passed = database.rows(f"SELECT count(*) FROM {uploads} WHERE {why.sql} = 0")[0][0]
        quality = [
            batch.column(0).to_numpy()
            for batch in database.batches(f"SELECT quality FROM {scan([str(candidates)])} WHERE id {among}")
        ]
        n_kept = database.rows(f"SELECT count(*) {on_day}")[0][0]
        popular_kept = database.rows(f"SELECT count(*) {on_day} AND {name(KEPT_ID)} {among}")[0][0]
    return PopularDay(
        each.day,
        each.uploads.rows,
        int(passed),
        int(n_kept),
        sum(by_rule.values()),
        {why.names[code]: n for code, n in sorted(by_rule.items()) if code},
        np.concatenate(quality) if quality else np.empty(0, np.float32),
        int(popular_kept),
    )
