"""``report.json`` and ``report.html`` of a simulation: what its arms gave to users, creators and works."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from karec.lab.report import Chart, Part, Table, note, write_report
from karec.lab.simulate.arm_log import ArmLog
from karec.lab.simulate.arms import Arms
from karec.lab.simulate.compare import RESAMPLES, compare_arms
from karec.lab.simulate.pictures import draw_days, draw_frontier
from karec.lab.simulate.report_tables import (
    CREATORS_SIDE,
    DRAWN_SIDE,
    EXPOSURE_HEAD,
    PRICES_HEAD,
    REACH,
    SCREENED_HEAD,
    USERS_SIDE,
    arm_rows,
    exposure_rows,
    price_rows,
    screened_rows,
)
from karec.lab.simulate.sums import sums_of

FORMAT = 3  # of report.json; format 2 had feeds
HOW_SURE = (
    "In brackets: 95 % intervals. They come from drawing users (for what users got, and shares of what was "
    "shown) or creators with all their works (for the rest) again and again, the same draws in every arm. "
    "All arms live in one world with one seed: the intervals do not cover another world."
)
MEASURES = (
    (
        "What users got",
        USERS_SIDE,
        "What a user is expected to do on a day, by the true chances, and for all but the baseline the "
        "change in percent. Users who never came count as 0.",
    ),
    (
        "What creators and works got",
        CREATORS_SIDE,
        "How many creators and works were seen on a mean day. Gini counts all creators, and all works there "
        "were, also those that nobody saw: 0 is equal, 1 is one that takes all. Its change is no percentage.",
    ),
    (
        "How far exposure reaches",
        REACH,
        "How many creators, and how many works, were shown at least 1, 10 and 100 times over all days. "
        "First-time creators: those whose first work came onto the platform in these days.",
    ),
    (
        "What happened to be drawn",
        DRAWN_SIDE,
        "The same days as they were played: what the log says, chance included.",
    ),
)


def report_on(
    logs: Iterable[ArmLog],
    baseline: str,
    *,
    pair: tuple[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of a simulation; every key is documented in docs/formats.md.

    ``logs`` are read one at a time, so that a generator holds one arm's exposures at once. ``pair`` names an
    arm without and one with diversity, which the pictures mark. Raises DataError as ``sums_of`` and
    ``compare_arms`` do.
    """
    return compare_arms((sums_of(log) for log in logs), baseline, pair=pair, resamples=resamples, seed=seed)


def loop_report(out: Path, arms: Arms) -> dict[str, Any]:
    """The report of the simulation ``out``, all of whose ``arms`` have ended."""
    names = [arm.name for arm in arms.arms]
    logs = (ArmLog.read(out / name) for name in names)
    return report_on(logs, arms.baseline or names[0], pair=arms.pair)


def write_simulation(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes report.json and report.html."""
    title = "karec: a platform simulated"
    return write_report({"format": FORMAT, **report}, folder, "report", title, parts_of(report))


def parts_of(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yields the parts of a page on a simulation."""
    arms, pair, baseline = report["arms"], report["pair"], report["baseline"]
    marked = f" Marked: “{pair['without']}” and “{pair['with']}”; the other arms are grey." if pair else ""
    yield note(
        f"{report['days']} days, {report['users']:,} users, {report['creators']:,} creators, "
        f"{report['works']:,} works that are there or may come. {len(arms)} arms met the same people, each "
        f"is compared with “{baseline}”. {HOW_SURE}"
    )
    yield Chart(
        "Creators, works and timeliness, day by day",
        lambda axes: draw_days(axes, report),
        "How many creators and how many works at least one user saw on each day, and which share of what was "
        f"shown was uploaded in the 72 hours before.{marked}",
        width=10,
        height=3.4,
    )
    yield Chart(
        "What reaching more creators costs",
        lambda axes: draw_frontier(axes, report),
        "Each point is an arm: to the right more creators are seen on a day, upwards people play longer "
        f"than with “{baseline}”. A line joins the settings of one method; no other arm beats a filled "
        "point in both.",
        width=9,
        height=5,
    )
    yield from _table(
        "What one more creator costs",
        PRICES_HEAD,
        price_rows(report["prices"]),
        "Seconds of true play, of all users together on a day, that are lost for one more creator (or work) "
        "seen on that day; below 0 both grow. A dash: the setting does not surely reach more.",
    )
    for title, columns, about in MEASURES:
        yield Table(title, *arm_rows(report, columns), about)
    yield from _table(
        "What was screened",
        SCREENED_HEAD,
        screened_rows(arms),
        "Uploads of all days, by the first reason that rejected them. Quality is the hidden one of the "
        "world, of mean 0 and spread 1 over all works; screening sees what the platform hears of it.",
    )
    yield from _table(
        "Exposure control",
        EXPOSURE_HEAD,
        exposure_rows(arms),
        "Exposure constraints and their state after the last day: shares of the impressions of the last "
        "24 hours, and items and creators that are no longer new, by whether they got their guarantee. Dual "
        "variables are in standard deviations of a request's scores.",
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], about: str) -> Iterator[Table]:
    """Yields a table if it has rows."""
    if found := list(rows):
        yield Table(title, head, found, about)
