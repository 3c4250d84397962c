"""``report.json`` and ``report.html`` of a simulation: what its arms gave to users, creators and works."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from karec._files import write_text_aside
from karec.errors import DataError
from karec.lab.report import page, picture, table
from karec.lab.simulate.arm_log import ArmLog
from karec.lab.simulate.arms import Arms
from karec.lab.simulate.compare import RESAMPLES, Knob, compare_arms
from karec.lab.simulate.first_pages import read_feeds
from karec.lab.simulate.pictures import draw_activity, draw_days, draw_frontier, draw_funnel, pools_of
from karec.lab.simulate.report_tables import (
    CREATORS_SIDE,
    DRAWN_SIDE,
    PRICES_HEAD,
    REACH,
    SCREENED_HEAD,
    STEERED_HEAD,
    USERS_SIDE,
    arm_rows,
    cost_rows,
    feed_parts,
    price_rows,
    screened_rows,
    steered_rows,
)
from karec.lab.simulate.sums import sums_of

FORMAT = 2  # of report.json
FEED_KEYS = ("arm", "user", "day", "shown_before", "works")
WORK_KEYS = ("song", "creator", "type", "age_h", "found_by", "ranked", "why")
HOW_SURE = (
    "In brackets: 95 % intervals. They come from drawing users (for what users got, and shares of what was "
    "shown) or "
    "creators with all their works (for the rest) again and again, the same draws in every arm. All arms "
    "live in one "
    "world with one seed: the intervals do not cover another world."
)


def report_on(
    logs: Iterable[ArmLog],
    baseline: str,
    *,
    pair: tuple[str, str] | None = None,
    knobs: Mapping[str, Knob] = MappingProxyType({}),
    feeds: Sequence[Mapping[str, Any]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The report of a simulation; every key is documented in docs/formats.md.

    ``logs`` are read one at a time, so that a generator holds one arm's exposures at once. ``pair`` names an
    arm without and one with diversity, which the pictures mark; ``knobs`` says what an arm turns where its
    log does not. ``feeds`` are shown as they are, each a dict of FEED_KEYS with dicts of WORK_KEYS
    (``karec.lab.simulate.first_pages``). Raises DataError as ``sums_of`` and ``compare_arms`` do.
    """
    _check_feeds(feeds)
    compared = compare_arms(
        (sums_of(log) for log in logs), baseline, pair=pair, knobs=knobs, resamples=resamples, seed=seed
    )
    return {**compared, "feeds": [dict(feed) for feed in feeds]}


def loop_report(out: Path, arms: Arms) -> dict[str, Any]:
    """The report of the simulation ``out``, all of whose ``arms`` have ended."""
    names = [arm.name for arm in arms.arms]
    logs = (ArmLog.read(out / name) for name in names)
    return report_on(logs, arms.baseline or names[0], pair=arms.pair, feeds=read_feeds(out, arms.shown))


def _check_feeds(feeds: Sequence[Mapping[str, Any]]) -> None:
    for at, feed in enumerate(feeds):
        for what, given, expected in [
            (f"feeds[{at}]", feed, FEED_KEYS),
            *(
                (f"feeds[{at}].works[{place}]", work, WORK_KEYS)
                for place, work in enumerate(feed.get("works", ()))
            ),
        ]:
            missing = [key for key in expected if key not in given]
            if missing:
                raise DataError(f"{what} lacks {', '.join(missing)}")


def write_report(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    data, shown = folder / "report.json", folder / "report.html"
    write_text_aside(shown, _page(report))
    write_text_aside(
        data, json.dumps({"format": FORMAT, **report}, indent=1, ensure_ascii=False, allow_nan=False)
    )
    return data, shown


def _page(report: Mapping[str, Any]) -> str:
    return page("karec simulation", ["<h1>karec: a platform simulated</h1>", *parts_of(report)])


def parts_of(report: Mapping[str, Any]) -> list[str]:
    """All that a page tells of a simulation, for one of its own or a part of another."""
    pair, baseline = report["pair"], report["baseline"]
    marked = f" Marked: “{pair['without']}” and “{pair['with']}”; the other arms are grey." if pair else ""
    parts = [
        _note(
            f"{report['days']} days, {report['users']:,} users, {report['creators']:,} creators, "
            f"{report['works']:,} works that are there or may come. {len(report['arms'])} arms met the same "
            f"people, "
            f"each is compared with “{baseline}”. {HOW_SURE}"
        ),
        *_drawn(
            "Creators, works and timeliness, day by day",
            "How many creators and how many works at least one user saw on each day, and which share of what "
            "was shown "
            f"was uploaded in the 72 hours before.{marked}",
            picture(lambda axes: draw_days(axes, report), 10, 3.4),
        ),
        *_drawn(
            "What reaching more creators costs",
            f"Each point is an arm: to the right more creators are seen on a day, upwards people play longer "
            f"than with "
            f"“{baseline}”. A line joins the settings of one method; no other arm beats a filled point in "
            f"both.",
            picture(lambda axes: draw_frontier(axes, report), 9, 5),
        ),
        *_prices(report),
    ]
    if any(len(sizes) > 1 for sizes in pools_of(report).values()):
        parts += _drawn(
            "What a larger pool gives",
            f"True play against “{baseline}” by how many works the pool holds; a line for each way to fill "
            f"it.",
            picture(lambda axes: draw_funnel(axes, report), 7, 3.6),
        )
    parts += [
        "<h2>What users got</h2>",
        _note(
            "What a user is expected to do on a day, by the true chances, and for all but the baseline the "
            "change in "
            "percent. Users who never came count as 0."
        ),
        table(*arm_rows(report, USERS_SIDE)),
        "<h2>What creators and works got</h2>",
        _note(
            "How many creators and works were seen on a mean day. Gini counts all creators, and all works "
            "there were, "
            "also those that nobody saw: 0 is equal, 1 is one that takes all. Its change is no percentage."
        ),
        table(*arm_rows(report, CREATORS_SIDE)),
        "<h2>How far exposure reaches</h2>",
        _note(
            "How many creators, and how many works, were shown at least 1, 10 and 100 times over all days. "
            "First-time "
            "creators: those whose first work came onto the platform in these days."
        ),
        table(*arm_rows(report, REACH)),
        "<h2>What happened to be drawn</h2>",
        _note("The same days as they were played: what the log says, chance included."),
        table(*arm_rows(report, DRAWN_SIDE)),
        *_drawn(
            "Do people come back, do creators stay",
            f"Sessions a user had on each day, works that creators uploaded, and creators who gave "
            f"up.{marked}",
            picture(lambda axes: draw_activity(axes, report), 10, 3.4),
        ),
        *_screened(report),
        *_steered(report),
        *feed_parts(report["feeds"]),
        *_costs(report),
    ]
    return parts


def _costs(report: Mapping[str, Any]) -> list[str]:
    head, rows = cost_rows(report["arms"])
    note = "What was counted and timed while each arm was played."
    return ["<h2>What it cost</h2>", _note(note), table(head, rows)] if len(head) > 1 else []


def _screened(report: Mapping[str, Any]) -> list[str]:
    rows = [*screened_rows(report["arms"])]
    note = (
        "Uploads of all days, by the first reason that rejected them. Quality is the hidden one of the "
        "world, of mean "
        "0 and spread 1 over all works; screening sees what the platform hears of it."
    )
    return ["<h2>What was screened</h2>", _note(note), table(SCREENED_HEAD, rows)] if rows else []


def _steered(report: Mapping[str, Any]) -> list[str]:
    rows = [*steered_rows(report["arms"])]
    note = (
        "What was wanted of exposure and how it stood after the last day: shares of the places of the last "
        "24 hours, "
        "works and creators that are not new any more, by whether they had their floor. Prices are in "
        "standard "
        "deviations of a request's scores."
    )
    return ["<h2>What was steered</h2>", _note(note), table(STEERED_HEAD, rows)] if rows else []


def _prices(report: Mapping[str, Any]) -> list[str]:
    if not report["prices"]:
        return []
    note = (
        "Seconds of true play, of all users together on a day, that are lost for one more creator (or work) "
        "seen on "
        "that day; below 0 both grow. A dash: the setting does not surely reach more."
    )
    return [_note(note), table(PRICES_HEAD, [*price_rows(report["prices"])])]


def _drawn(title: str, sentence: str, drawn: str) -> list[str]:
    return [f"<h2>{html.escape(title)}</h2>", _note(sentence), drawn]


def _note(text: str) -> str:
    return f"<p class=note>{html.escape(text)}</p>"
