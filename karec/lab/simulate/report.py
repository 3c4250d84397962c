"""``report.json`` and ``report.html`` of a simulation: results of its arms for users, creators and works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from karec.lab.report import Chart, Part, Table, note, write_report
from karec.lab.simulate.arm_log import ArmLog
from karec.lab.simulate.arms import Arms
from karec.lab.simulate.compare import compare_arms
from karec.lab.simulate.compare_worlds import frontier_chart
from karec.lab.simulate.pictures import CURVES, draw_days
from karec.lab.simulate.report_pages import page_parts
from karec.lab.simulate.report_tables import (
    CREATORS_SIDE,
    EXPOSURE_HEAD,
    IMPRESSIONS_SIDE,
    PAGES_SIDE,
    REACH,
    USER_CHANGES,
    USERS_SIDE,
    arm_rows,
    exposure_rows,
    user_rows,
)
from karec.lab.simulate.sums import sums_of
from karec.lab.simulate.user_changes import read_traits

FORMAT = 1  # of report.json
INTERVAL_NOTE = (
    "In brackets: 95 % intervals. They are bootstrapped over users (for feedback, and fractions of "
    "impressions) or over creators with all their works (for the rest), with the same resamples in every "
    "arm. All arms are in one world with one seed: the intervals do not cover another world."
)
MEASURES = (
    (
        "Feedback of users",
        USERS_SIDE,
        "Expected feedback of a user per day, by the true probabilities; for all arms but the baseline the "
        "change in percent. Users who never came count as 0.",
    ),
    (
        "Feedback per impression",
        IMPRESSIONS_SIDE,
        "The same feedback for each impression. It can fall while that of a day rises, since users come more "
        "often.",
    ),
    (
        "Creators on a page",
        PAGES_SIDE,
        "Items for each creator of a page, and the fraction of pages with more than three items of one "
        "creator, whose change is absolute.",
    ),
    (
        "Creators and works",
        CREATORS_SIDE,
        "Creators and works with an impression on a mean day. Gini is over all creators and all uploaded "
        "works, also those without an impression: 0 is equal, 1 is one that has all. Its change is absolute.",
    ),
    (
        "How far exposure reaches",
        REACH,
        "Creators and works with at least 1, 10 and 100 impressions over all days, and the fractions of "
        "users with at least one follow or like.",
    ),
)


def loop_report(out: Path, arms: Arms) -> dict[str, Any]:
    """Returns the report of the simulation ``out``, all of whose ``arms`` have ended."""
    names = [arm.name for arm in arms.arms]
    sums = (sums_of(ArmLog.read(out / name)) for name in names)  # one log in memory at a time
    return compare_arms(sums, arms.baseline or names[0], pair=arms.pair, traits=read_traits(out))


def write_simulation(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes report.json and report.html."""
    title = "karec: a platform simulated"
    return write_report({"format": FORMAT, **report}, folder, "report", title, parts_of(report))


def parts_of(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yields the parts of a page on a simulation."""
    pair = report["pair"]
    marked = f" Marked: “{pair['without']}” and “{pair['with']}”; the other arms are grey." if pair else ""
    yield Chart(
        "Creators, works and timeliness, day by day",
        lambda *panels: draw_days(panels, report),
        "Creators and works with an impression on each day, and the fraction of impressions of works that "
        f"were uploaded in the 72 hours before.{marked}",
        width=10,
        height=3.4,
        panels=(1, len(CURVES)),
    )
    yield frontier_chart(report)
    yield from simulation_tables(report)
    yield from page_parts(report)


def simulation_tables(report: Mapping[str, Any]) -> Iterator[Part]:
    """Yields a sentence on the population and all tables of a simulation."""
    arms = report["arms"]
    yield note(
        f"{report['days']} days, {report['users']:,} users, {report['creators']:,} creators, "
        f"{report['works']:,} existing or potential works. {len(arms)} arms have the same users; each "
        f"is compared with “{report['baseline']}”. {INTERVAL_NOTE}"
    )
    for title, columns, about in MEASURES:
        yield Table(title, *arm_rows(report, columns), about)
    if rows := list(user_rows(arms)):
        yield Table(
            "Fractions of users",
            ("arm", *(head for head, _ in USER_CHANGES.values())),
            rows,
            f"Users with play in “{report['baseline']}” whose play over all days is lower or higher by more "
            "than 2 %; the quarters are by impressions, and by play with creators outside the most shown "
            "ones (half of all impressions), in the two weeks before.",
        )
    if rows := list(exposure_rows(arms)):
        yield Table(
            "Exposure control",
            EXPOSURE_HEAD,
            rows,
            "Exposure constraints and their state after the last day: shares of the impressions of the last "
            "24 hours, and items and creators that are no longer new, by whether they got their guarantee. "
            "Dual variables are in standard deviations of a request's scores.",
        )
