"""Why a work is where it is, in one line: who found it, and what the steps that explain themselves say of
it."""

from __future__ import annotations

from typing import Any

from karec.pipeline.types import Page


def reasons(feed: Page) -> list[str]:
    """One line for each work of ``feed``, whose request said ``explain``."""
    said: dict[int | str, list[str]] = {}
    for step in feed.trace.steps:
        told = step.notes.get("explanation")
        if told is None:
            continue
        for place, work in enumerate(told.get("works", ())):
            said.setdefault(work["id"], []).append(f"{step.place}: {_chosen(place, work, told['top_k'])}")
        for work in told.get("arranged", ()):
            if work["place"] != work["was"]:
                owner = f" for {work['owner']}" if work["owner"] else ""
                line = f"{step.place}: moved from place {work['was']} to {work['place']}{owner}"
                said.setdefault(work["id"], []).append(line)
    return ["; ".join([f"found by {', '.join(item.sources)}", *said.get(item.item_id, ())]) for item in feed]


def _chosen(place: int, work: dict[str, Any], top_k: list[Any]) -> str:
    line = f"place {place + 1} with relevance {work['relevance']:.3f}"
    if work["id"] not in top_k:
        line += ", not among the most relevant"
    if work["closest"] is not None:
        same = f", same {', '.join(work['same'])}" if work["same"] else ""
        line += f", closest before it {work['closest']} at {work['similarity']:.2f}{same}"
    return line
