"""What feeds reached, for people: a sentence and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.evaluate.tables import with_interval

LARGE = 10.0  # from here on a value is told with one decimal
PARTS = ("cascade", "top_k", "change")
REACH_HEAD = ("measure", "cascade", "top-k by relevance", "cascade less top-k, paired")


def reach_sentence(reach: Mapping[str, Any]) -> str:
    """What was counted, and whether outcomes are true."""
    library = reach["library"]
    creators = "" if library["creators"] is None else f" and {library['creators']:,} creators"
    true = any(name.startswith("true ") for name in reach["cascade"])
    told = (
        "What is true comes from the world's own chances, with nothing alike shown just before. "
        if true
        else ""
    )
    return (
        f"Of {library['works']:,} works{creators} in the library, all of which count; top-k: of the works "
        f"that were "
        f"ranked, the best by the fused score. {told}In brackets: 95 % intervals over users, or over "
        f"creators."
    )


def reach_rows(reach: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(measure, cascade, top-k, difference) with 95 % intervals."""
    rows = []
    for name, measure in reach["cascade"].items():
        digits = 1 if (measure["value"] or 0.0) >= LARGE else 4
        rows.append((name, *(_cell(reach[part][name], digits, part == "change") for part in PARTS)))
    return rows


def _cell(measure: Mapping[str, Any], digits: int, signed: bool) -> str:
    text = with_interval(measure["value"], measure["ci"], digits)
    return f"+{text}" if signed and measure["value"] is not None and measure["value"] > 0 else text
