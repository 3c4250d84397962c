"""The reason for the place of an item: the sources that returned it, and what steps explain about it."""

from __future__ import annotations

from typing import Any

from karec.pipeline.types import Page


def reasons(page: Page) -> list[str]:
    """Returns one line for each item of `page`. Its request must have `explain`."""
    lines: dict[int | str, list[str]] = {}
    for step in page.trace.steps:
        explanation = step.notes.get("explanation")
        if explanation is None:
            continue
        for place, item in enumerate(explanation.get("works", ())):
            line = _describe_choice(place, item, explanation["top_k"])
            lines.setdefault(item["id"], []).append(f"{step.place}: {line}")
        for item in explanation.get("arranged", ()):
            if item["place"] != item["was"]:
                owner = f" for {item['owner']}" if item["owner"] else ""
                line = f"{step.place}: moved from place {item['was']} to {item['place']}{owner}"
                lines.setdefault(item["id"], []).append(line)
    return [
        "; ".join([f"returned by {', '.join(item.sources)}", *lines.get(item.item_id, ())]) for item in page
    ]


def _describe_choice(place: int, item: dict[str, Any], top_k: list[Any]) -> str:
    line = f"place {place + 1} with relevance {item['relevance']:.3f}"
    if item["id"] not in top_k:
        line += ", not among the most relevant"
    if item["closest"] is not None:
        same = f", same {', '.join(item['same'])}" if item["same"] else ""
        line += f", closest earlier item {item['closest']} at {item['similarity']:.2f}{same}"
    return line
