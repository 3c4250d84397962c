"""Later outcomes of uploads: training rows of the quality model, and works that became popular."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.data.database import Database, database_errors, quote_name, scan_sql
from karec.errors import ConfigError, DataError
from karec.screening.library import IDS, ColumnType, Day, check_days, day_folders, merge_needs, read_day
from karec.screening.quality import needed_columns, to_float32
from karec.screening.rules import BlockList, rejection_reasons
from karec.screening.rules import needed_columns as rule_columns
from karec.screening.selection import KEPT_DAY, KEPT_ID
from karec.screening.settings import Learn, ScreeningSettings

COUNTS: tuple[ColumnType, ...] = ("integer",)
SHOWN, VIEWED = "karec.exposures", "karec.long_views"  # columns of a query's result
SHOWN, VIEWED = "karec.exposures", "karec.long_views"  # columns of a query's result


@dataclass(frozen=True)
class Outcome:
    uploads: Day
    outcomes: Day

    @property
    def day(self) -> date:
        return self.uploads.day


def require_learn(settings: ScreeningSettings, path: Path) -> Learn:
    """Returns the table ``[learn]``. Raises ConfigError if it is missing."""
    if settings.learn is None:
        raise ConfigError(f"{path}: the table 'learn' is missing. It names outcomes and training columns.")
    return settings.learn


def read_outcomes(settings: ScreeningSettings, learn: Learn) -> list[Outcome]:
    """Returns the days with uploads and outcomes, after checking their columns. Raises DataError."""
    uploads = day_folders(settings.folder / settings.uploads)
    outcomes = day_folders(settings.folder / learn.outcomes)
    common_days = sorted(set(uploads) & set(outcomes))
    if not common_days:
        raise DataError(f"{settings.folder / learn.outcomes}: no day has both uploads and outcomes")
    days = [Outcome(read_day(day, uploads[day]), read_day(day, outcomes[day])) for day in common_days]
    needed_types = merge_needs(chain([(settings.columns.work, IDS)], rule_columns(settings)))
    check_days([outcome.uploads for outcome in days], needed_types)
    outcome_types = {learn.work: IDS, learn.exposures: COUNTS, learn.long_views: COUNTS}
    check_days([outcome.outcomes for outcome in days], outcome_types)
    return days


def missing_day_notes(days: Sequence[Outcome], missing: Collection[date]) -> list[str]:
    """Returns a note for each day between ``days`` that is not among them or ``missing``."""
    known = {outcome.day for outcome in days} | set(missing)
    between = (days[0].day + timedelta(n) for n in range((days[-1].day - days[0].day).days))
    return [f"{day} is left out: it has no outcomes, or no uploads" for day in between if day not in known]


@dataclass(frozen=True, eq=False)
class LearningRows:
    """N works that passed the rules and had enough exposures; NaN for a missing cell."""

    features: NDArray[Any]
    exposures: NDArray[Any]
    long_views: NDArray[Any]


def learning_rows(
    database: Database,
    settings: ScreeningSettings,
    learn: Learn,
    days: Sequence[Outcome],
    block_lists: Mapping[str, BlockList],
    max_rows: int,
) -> LearningRows:
    """Returns about ``max_rows`` works of ``days``, sampled by a hash of the id.

    Raises DataError if long views are below 0 or above exposures.
    """
    check_days([day.uploads for day in days], merge_needs(needed_columns(learn.features)))
    stride = max(-(-sum(day.uploads.rows for day in days) // max_rows), 1)
    exposures, long_views = quote_name(learn.exposures), quote_name(learn.long_views)
    parts = []
    for day in days:
        rejection = rejection_reasons(settings, day.uploads.column_types, block_lists)
        features = ", ".join(f"u.{quote_name(column)}" for column in learn.features)
        work = f"u.{quote_name(settings.columns.work)}"
        query = (
            f"SELECT {features}, o.{exposures} AS {quote_name(SHOWN)}, o.{long_views} AS "
            f"{quote_name(VIEWED)} FROM (SELECT * FROM {scan_sql(day.uploads.paths)} WHERE {rejection.sql} = "
            f"0) AS u JOIN {scan_sql(day.outcomes.paths)} AS o ON {work} = o.{quote_name(learn.work)} WHERE "
            f"o.{exposures} >= {learn.min_exposures} AND hash({work}) % {stride} = 0 ORDER BY {work}"
        )
        folder = day.outcomes.shards[0].path.parent
        with database_errors(folder):
            invalid = database.rows(
                f"SELECT {quote_name(learn.work)} FROM {scan_sql(day.outcomes.paths)} "
                f"WHERE {long_views} < 0 OR {long_views} > {exposures} LIMIT 1"
            )
            if invalid:
                raise DataError(
                    f"{folder}: work {invalid[0][0]} has more {learn.long_views} than {learn.exposures}"
                )
            for batch in database.batches(query):
                matrix = np.stack([to_float32(batch.column(at)) for at in range(len(learn.features))], axis=1)
                counts = [batch.column(key).to_numpy(zero_copy_only=False) for key in (SHOWN, VIEWED)]
                parts.append((matrix, *counts))
    if not parts:
        names = f"{days[0].day} … {days[-1].day}"
        raise DataError(
            f"no work of {names} passed the rules and had {learn.min_exposures} exposures. Lower "
            "learn.min_exposures."
        )
    return LearningRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class PopularDay:
    """A day of the window and its works that became popular.

    uploads, passed, kept   numbers of works
    popular                 works that became popular; of these
    rejected                those rejected by a rule, by reason
    quality                 (P,) of the candidates
    popular_kept            those that were kept
    """

    day: date
    uploads: int
    passed: int
    kept: int
    popular: int
    rejected: Mapping[str, int]
    quality: NDArray[Any]
    popular_kept: int


def popular_threshold(database: Database, learn: Learn, days: Sequence[Outcome], share: float) -> int:
    """Returns the smallest number of long views of the ``share`` of works of ``days`` with the most."""
    paths = [path for day in days for path in day.outcomes.paths]
    with database_errors(days[0].outcomes.shards[0].path.parent):
        counts = database.rows(
            f"SELECT {quote_name(learn.long_views)} AS n, count(*) FROM {scan_sql(paths)} GROUP BY 1 ORDER "
            "BY 1 DESC NULLS LAST"
        )
    total, cumulative = sum(count for _, count in counts), 0
    for long_views, count in counts:
        cumulative += count
        if cumulative >= share * total or long_views is None:
            return int(long_views or 0)
    return 0


def popular_day(
    database: Database,
    settings: ScreeningSettings,
    learn: Learn,
    day: Outcome,
    block_lists: Mapping[str, BlockList],
    candidates: Path,
    kept: Path,
    min_long_views: int,
) -> PopularDay:
    """Returns the popular works of a day, those with at least ``min_long_views``.

    Args
      candidates   the day's file
      kept         the window's file
    """
    rejection, work = (
        rejection_reasons(settings, day.uploads.column_types, block_lists),
        quote_name(settings.columns.work),
    )
    on_day = f"FROM {scan_sql([str(kept)])} WHERE {quote_name(KEPT_DAY)} = DATE '{day.day}'"
    is_popular = f"IN (SELECT {quote_name(learn.work)} FROM popular)"
    with database_errors(day.outcomes.shards[0].path.parent):
        database.run(
            f"CREATE OR REPLACE TEMP TABLE popular AS SELECT DISTINCT {quote_name(learn.work)} FROM "
            f"{scan_sql(day.outcomes.paths)} WHERE {quote_name(learn.long_views)} >= {min_long_views}"
        )
        uploads = scan_sql(day.uploads.paths)
        by_rule = dict(
            database.rows(
                f"SELECT {rejection.sql} AS reason, count(*) FROM {uploads} WHERE {work} {is_popular} GROUP "
                f"BY 1"
            )
        )
        passed = database.rows(f"SELECT count(*) FROM {uploads} WHERE {rejection.sql} = 0")[0][0]
        quality = [
            batch.column(0).to_numpy()
            for batch in database.batches(
                f"SELECT quality FROM {scan_sql([str(candidates)])} WHERE id {is_popular}"
            )
        ]
        n_kept = database.rows(f"SELECT count(*) {on_day}")[0][0]
        popular_kept = database.rows(f"SELECT count(*) {on_day} AND {quote_name(KEPT_ID)} {is_popular}")[0][0]
    return PopularDay(
        day.day,
        day.uploads.rows,
        int(passed),
        int(n_kept),
        sum(by_rule.values()),
        {rejection.names[code]: n for code, n in sorted(by_rule.items()) if code},
        np.concatenate(quality) if quality else np.empty(0, np.float32),
        int(popular_kept),
    )
