"""Results of an arm summed by user, creator and day, from a log of millions of impressions.

A creator is *new* for NEW_DAYS days after the first upload. Feedback is the expected one, from the true
probabilities. A *penetration* is the fraction of users with at least one such action, as drawn.

Cost: O(M + days·(C + W)) for M impressions, C creators and W works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.evaluate.metrics.exposure import THRESHOLDS, Concentration, Sums, daily_counts, gini
from karec.lab.simulate.arm_log import BEFORE, ArmLog
from karec.lab.simulate.pages import count_pages
from karec.times import DAY_MS, HOUR_MS

EXPECTED = {"play_s": "p_play_s", "long_views": "p_long_view", "likes": "p_like", "follows": "p_follow"}
PENETRATIONS = {"follow_penetration": "follow", "like_penetration": "like"}
YOUNG_HOURS = (24, 72)
NEW_DAYS = 7
MAX_OF_CREATOR = 3  # items of one creator on a page that is not concentrated


@dataclass(frozen=True, eq=False)
class ArmSums:
    """One arm, in the rows of its world.

    n_users     U, number of users who may visit
    creators    (C,) int64, as in the log
    works       number of works of the world, uploaded or not
    by_user     {measure: over users}: results of a user per day; ``sessions`` and ``exposures`` per day;
                penetrations over all days; fractions of impressions; ``…_an_exposure`` per impression;
                ``items_a_creator`` of a page, ``pages_concentrated``, a fraction of pages
    by_creator  {measure: over creators}: ``creators_10`` and ``works_10`` with at least 10 impressions over
                all days, ``creators_10_a_day`` on the mean day; ``gini_creators``, ``gini_works``: of all
                creators, of all uploaded works;
                ``works_available``, ``uploads``, ``quits``
    by_day      {measure: (days,) float64}, the same names if they have a meaning for one day; NaN if no user
                came
    """

    name: str
    days: int
    n_users: int
    creators: NDArray[Any]
    works: int
    by_user: Mapping[str, Sums]
    by_creator: Mapping[str, Sums | Concentration]
    by_day: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]


def sums_of(log: ArmLog) -> ArmSums:
    """Returns the sums of ``log``.

    Raises DataError for an arm without days, users or creators, and for contradictory rows.
    """
    creator_of = _check(log)
    n, works = len(log.creators), len(log.work_upload_day)
    counts = {
        "creators": daily_counts(log.exposures["day"], creator_of[log.exposures["creator"]], log.days, n),
        "works": daily_counts(log.exposures["day"], log.exposures["work"], log.days, works),
    }
    uploaded = np.flatnonzero(log.work_upload_day < log.days)
    owner = creator_of[log.work_creator[uploaded]]
    first_ms = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first_ms, owner, log.upload_ms[uploaded])
    shares = _shares(log, first_ms[creator_of[log.exposures["creator"]]])
    return ArmSums(
        name=log.name,
        days=log.days,
        n_users=int(log.is_visitor.sum()),
        creators=log.creators,
        works=works,
        by_user=_by_user(log, shares),
        by_creator=_by_creator(log, counts, uploaded, owner),
        by_day=_by_day(log, shares, counts),
        facts=log.facts,
    )


def _check(log: ArmLog) -> NDArray[Any]:
    """Returns (n_users,) the creator of a user row, −1 for users who are not creators."""
    sizes = {"days": log.days, "users": int(log.is_visitor.sum()), "creators": len(log.creators)}
    for noun, size in sizes.items():
        if size < 1:
            raise DataError(f"arm {log.name!r} has {size} {noun}, expected at least 1")
    works = len(log.work_upload_day)
    bounds = {"day": log.days, "user": log.n_users, "work": works, "creator": log.n_users}
    columns = {name: (log.exposures[name], below) for name, below in bounds.items()}
    for name, (column, below) in {**columns, "creators": (log.creators, log.n_users)}.items():
        if len(column) and not 0 <= column.min() <= column.max() < below:
            raise DataError(
                f"arm {log.name!r}: {name} has {column.min()} … {column.max()}, expected 0 … {below - 1}"
            )
    creator_of = np.full(log.n_users, -1)
    creator_of[log.creators] = np.arange(len(log.creators))
    _reject(
        log,
        log.exposures["creator"] != log.work_creator[log.exposures["work"]],
        "has another creator",
    )
    _reject(log, ~log.is_visitor[log.exposures["user"]], "was shown to a user who may not visit")
    _reject(
        log, log.work_upload_day[log.exposures["work"]] > log.exposures["day"], "was shown before its upload"
    )
    for work in np.flatnonzero((log.work_upload_day < log.days) & (creator_of[log.work_creator] < 0))[:1]:
        raise DataError(
            f"arm {log.name!r}: work {work} is by user {log.work_creator[work]}, who is not a creator"
        )
    return creator_of


def _reject(log: ArmLog, is_bad: NDArray[Any], reason: str) -> None:
    for row in np.flatnonzero(is_bad)[:1]:
        raise DataError(f"arm {log.name!r}: work {log.exposures['work'][row]}, exposure {row}, {reason}")


def _shares(log: ArmLog, first_ms: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Returns {measure: (M,) bool, the impressions that count}.

    ``first_ms`` (M,): first upload of the creator.
    """
    young = {f"younger_{hours}h": log.exposures["age_ms"] < hours * HOUR_MS for hours in YOUNG_HOURS}
    moment = log.upload_ms[log.exposures["work"]] + log.exposures["age_ms"]
    return {**young, "new_creators_share": moment - first_ms < NEW_DAYS * DAY_MS}


def _by_user(log: ArmLog, shares: Mapping[str, NDArray[Any]]) -> dict[str, Sums]:
    is_visitor = log.is_visitor

    def of_users(values: NDArray[Any] | None = None) -> NDArray[Any]:
        counts = np.bincount(log.exposures["user"], weights=values, minlength=log.n_users)
        return np.asarray(counts[is_visitor].astype(np.float64))

    days = np.full(int(is_visitor.sum()), float(log.days))
    exposures = of_users()
    actions = {name: of_users(log.exposures[column]) for name, column in PENETRATIONS.items()}
    feedback = {name: of_users(log.exposures[column]) for name, column in EXPECTED.items()}
    return {
        **{name: Sums(value, days) for name, value in feedback.items()},
        "sessions": Sums(log.sessions[:, is_visitor].sum(axis=0).astype(np.float64), days),
        "exposures": Sums(exposures, days),
        **{f"{name}_an_exposure": Sums(value, exposures) for name, value in feedback.items()},
        **_page_sums(log),
        **{name: Sums((n > 0).astype(np.float64), np.ones(len(n))) for name, n in actions.items()},
        **{name: Sums(of_users(counts), exposures) for name, counts in shares.items()},
    }


def _page_sums(log: ArmLog) -> dict[str, Sums]:
    """Returns items per creator of a page, and the fraction of pages with more than MAX_OF_CREATOR of one."""
    pages = count_pages(log.exposures)

    def of_users(values: NDArray[Any]) -> NDArray[Any]:
        counts = np.bincount(pages.user, weights=values, minlength=log.n_users)
        return np.asarray(counts[log.is_visitor])

    is_concentrated = pages.max_of_creator > MAX_OF_CREATOR
    return {
        "items_a_creator": Sums(of_users(pages.n_items), of_users(pages.n_creators)),
        "pages_concentrated": Sums(of_users(is_concentrated), of_users(np.ones(len(pages.user)))),
    }


def _by_creator(
    log: ArmLog, counts: Mapping[str, NDArray[Any]], uploaded: NDArray[Any], owner: NDArray[Any]
) -> dict[str, Sums | Concentration]:
    """``uploaded``: rows of works; ``owner``: the creator of each, from 0."""
    n = len(log.creators)

    def of_creators(values: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(owner, weights=values, minlength=n).astype(np.float64)

    measures: dict[str, Sums | Concentration] = {}
    for noun, daily in counts.items():
        total = daily.sum(axis=0)
        for minimum in THRESHOLDS:
            is_reached, days = (total >= minimum).astype(np.float64), (daily >= minimum).mean(axis=0)
            measures[f"{noun}_{minimum}"] = Sums(
                is_reached if noun == "creators" else of_creators(is_reached[uploaded])
            )
            measures[f"{noun}_{minimum}_a_day"] = Sums(
                days if noun == "creators" else of_creators(days[uploaded])
            )
    return measures | {
        "gini_creators": Concentration(counts["creators"].sum(axis=0), np.arange(n)),
        "gini_works": Concentration(counts["works"].sum(axis=0)[uploaded], owner),
        "works_available": Sums(of_creators()),
        "uploads": Sums(of_creators(log.work_upload_day[uploaded] != BEFORE)),
        "quits": Sums((log.quit_day >= 0).astype(np.float64)),
    }


def _by_day(
    log: ArmLog, shares: Mapping[str, NDArray[Any]], counts: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    def of_days(values: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(log.exposures["day"], weights=values, minlength=log.days).astype(np.float64)

    exposures, is_visitor = of_days(), log.is_visitor

    def share(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(
            np.divide(of_days(values), exposures, out=np.full(log.days, np.nan), where=exposures > 0)
        )

    uploads = log.work_upload_day[(log.work_upload_day >= 0) & (log.work_upload_day < log.days)]
    quits = log.quit_day[(log.quit_day >= 0) & (log.quit_day < log.days)]
    return {
        **{name: of_days(log.exposures[column]) / is_visitor.sum() for name, column in EXPECTED.items()},
        "sessions": log.sessions[:, is_visitor].mean(axis=1),
        "exposures": exposures / is_visitor.sum(),
        **{name: share(is_counted) for name, is_counted in shares.items()},
        **{
            f"{noun}_{minimum}": (daily >= minimum).sum(axis=1).astype(np.float64)
            for noun, daily in counts.items()
            for minimum in THRESHOLDS
        },
        "gini_creators": np.array([gini(day) if day.any() else np.nan for day in counts["creators"]]),
        "uploads": np.bincount(uploads, minlength=log.days).astype(np.float64),
        "quits": np.bincount(quits, minlength=log.days).astype(np.float64),
    }
