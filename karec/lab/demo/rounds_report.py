"""Two rounds of towers, for people: a sentence and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.evaluate.tables import with_interval

ROUNDS_HEAD = ("measure", "first round", "second round", "gain, paired")
_NAMES = {
    "kept.top10": "ranker's top 10 kept",
    "kept.top100": "ranker's top 100 kept",
    "distinct_works": "distinct works in top tens",
}


def rounds_sentence(rounds: Mapping[str, Any]) -> str:
    """What the second round learned from, and what both are measured on, in a line."""
    taught, measured = rounds["taught_by"], rounds["measured_on"]
    told = f", and what happened to {taught['outcomes']:,} works shown" if taught["outcomes"] else ""
    return (
        f"Second round: towers taught by {taught['requests']:,} served requests{told}; pools of "
        f"{measured['pool']:,} "
        f"works of {measured['requests']:,} other users, of which prerank lets {measured['share']:.1%} "
        f"through"
    )


def rounds_rows(rounds: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(measure, first, second, gain) with 95 % intervals over users."""
    rows = []
    for name in rounds["first"]:
        cells = [
            _cell(name, rounds[part][name], signed=part == "gain") for part in ("first", "second", "gain")
        ]
        rows.append((_NAMES.get(name, f"{name.removesuffix('.auc')}, AUC of towers"), *cells))
    return rows


def _cell(name: str, measure: Mapping[str, Any], signed: bool) -> str:
    if name == "distinct_works":
        return f"{measure['value']:+,}" if signed else f"{measure['value']:,}"
    text = with_interval(measure["value"], measure["ci"])
    return f"+{text}" if signed and measure["value"] is not None and measure["value"] > 0 else text
