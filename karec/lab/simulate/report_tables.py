"""Tables of a simulation's report: arms as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from karec.evaluate.metrics.exposure import THRESHOLDS

Columns = Mapping[str, tuple[str, int]]  # {measure: (head, decimals)}

USERS_SIDE: Columns = {
    "play_s": ("play, s", 1),
    "long_views": ("long views", 2),
    "likes": ("likes", 3),
    "follows": ("follows", 4),
    "sessions": ("sessions", 2),
}
IMPRESSIONS_SIDE: Columns = {
    "play_s_an_exposure": ("play per impression, s", 1),
    "long_views_an_exposure": ("long views per impression", 3),
    "likes_an_exposure": ("likes per impression", 4),
    "follows_an_exposure": ("follows per impression", 5),
}
PAGES_SIDE: Columns = {
    "items_a_creator": ("items per creator on a page", 2),
    "pages_concentrated": ("pages with more than 3 of one creator", 4),
}
USER_CHANGES: Columns = {
    "worse": ("worse by 2 %", 3),
    "better": ("better by 2 %", 3),
    "worse_an_impression": ("worse per impression", 3),
    "worse_low_activity": ("worse, least active quarter", 3),
    "worse_high_activity": ("worse, most active quarter", 3),
    "worse_low_rare_taste": ("worse, taste for known creators", 3),
    "worse_high_rare_taste": ("worse, taste for rare creators", 3),
}
CREATORS_SIDE: Columns = {
    "creators_1_a_day": ("creators per day", 0),
    "works_1_a_day": ("works per day", 0),
    "gini_creators": ("Gini, creators", 3),
    "gini_works": ("Gini, works", 3),
    "younger_24h": ("younger than 24 h", 3),
    "younger_72h": ("younger than 72 h", 3),
    "new_creators_share": ("by new creators", 3),
    "uploads": ("uploads", 0),
    "quits": ("creators gone", 0),
}
REACH: Columns = {
    f"{unit}_{minimum}": (f"{unit} with {minimum}+", 0)
    for unit in ("creators", "works")
    for minimum in THRESHOLDS
} | {"follow_penetration": ("users who followed", 3), "like_penetration": ("users who liked", 3)}
EXPOSURE_HEAD = ("arm", "constraint", "target", "reached", "dual variable")


def arm_rows(report: Mapping[str, Any], columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Returns (head, rows): the baseline's values, then the change of each other arm."""
    baseline = report["baseline"]
    names = [baseline, *(name for name in report["arms"] if name != baseline)]
    rows = []
    for name in names:
        measures = report["arms"][name]["measures"]
        cells = [
            _value(measures[measure], digits) if name == baseline else _change(measures[measure], measure)
            for measure, (_, digits) in columns.items()
        ]
        rows.append([name, *cells])
    return ["arm", *(head for head, _ in columns.values())], rows


def user_rows(arms: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yields a row of USER_CHANGES for each arm but the baseline."""
    for name, arm in arms.items():
        if users := arm["users"]:
            values = [(users.get(change), digits) for change, (_, digits) in USER_CHANGES.items()]
            yield [name, *("–" if value is None else f"{value:.{digits}f}" for value, digits in values)]


def exposure_rows(arms: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yields a row for each exposure constraint of each arm, with its state after the last day."""
    for name, arm in arms.items():
        exposure = arm["facts"].get("exposure")
        if not isinstance(exposure, Mapping):
            continue
        for target in exposure["targets"]:
            yield [
                name,
                target["name"],
                f"{target['target_share']:.1%}",
                f"{target['share']:.1%}",
                f"{target['dual_variable']:+.2f}",
            ]
        for cap in exposure["caps"]:
            yield [
                name,
                f"per {cap['column']}",
                f"≤ {cap['share']:.1%}",
                f"{cap['active']} active",
                f"{cap['largest']:+.2f}",
            ]
        for counts in exposure["guarantees"]:
            total = counts["reached"] + counts["missed"]
            reached = (
                f"{counts['reached']:,} of {total:,}; "
                f"{counts['underexposed']:,} of {counts['new']:,} new are below"
            )
            yield [name, f"new {counts['name']}", "all", reached, "–"]
        for counts in exposure["fairness"]:
            shown = f"{counts['values']:,} were shown, one {counts['max_exposures']:,.0f} times"
            yield [name, f"fairness of {counts['name']}", "–", shown, f"≤ {counts['weight']:+.2f}"]


def _value(measure: Mapping[str, Any], digits: int) -> str:
    if measure["value"] is None:
        return "–"
    interval = "" if measure["ci"] is None else " [{:,.{d}f}, {:,.{d}f}]".format(*measure["ci"], d=digits)
    return f"{measure['value']:,.{digits}f}{interval}"


def _change(measure: Mapping[str, Any], name: str) -> str:
    if name.startswith(("gini", "pages")):
        return format_change(measure["change"], measure["change_ci"], 3)
    return format_change(measure["relative"], measure["relative_ci"], 2, " %")


def format_change(value: float | None, ci: Sequence[float] | None, digits: int, unit: str = "") -> str:
    """Returns ``+27.1 % [+21.0, +36.2]`` with a true minus sign; a dash if there is no value."""
    if value is None:
        return "–"
    bounds = "" if ci is None else f" [{ci[0]:+,.{digits}f}, {ci[1]:+,.{digits}f}]"
    return f"{value:+,.{digits}f}{unit}{bounds}".replace("-", "\N{MINUS SIGN}")
