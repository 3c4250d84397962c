"""Responses of /v1/recommend and /v1/rank, made from pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from karec.pipeline.types import Page
from karec.serve import messages


def to_response(page: Page, message: messages.PageRequest, run_ms: float) -> messages.PageResponse:
    is_explained = message.explain
    make: Callable[..., messages.PageResponse] = messages.PageResponse
    if isinstance(message, messages.RankRequest):
        make = partial(
            messages.RankResponse,
            dropped=[messages.Dropped(item, place) for item, place in page.dropped.items()],
            scores=[messages.Scored(item, score) for item, score in page.scores.items()]
            if message.scores
            else msgspec.UNSET,
        )
    return make(
        request_id=page.request.request_id,
        user_id=message.user_id,
        scene=page.request.scene,
        items=_items(page, is_explained=is_explained),
        degraded=page.degraded,
        is_cold_start=page.is_cold_start,
        versions=dict(page.versions),
        shortfall=None if page.shortfall is None else str(page.shortfall),
        run_ms=round(run_ms, 3),
        arms=dict(page.arms),
        trace=[step.to_dict() for step in page.trace.steps] if is_explained else msgspec.UNSET,
    )


def _items(page: Page, *, is_explained: bool) -> list[messages.Item]:
    """Returns the items of `page.items`. It makes no PageItem: that would take most of the time here."""
    if page.parts:
        items = [
            msgspec.structs.replace(item, position=place)
            for part in page.parts.values()
            for place, item in zip(part.places or (), _items(part, is_explained=is_explained), strict=True)
        ]
        return sorted(items, key=lambda item: item.position)
    reasons = _reasons(page) if is_explained else None
    candidates = page.candidates
    ids: Sequence[Any] = candidates.ids.tolist() if page.item_ids is None else page.item_ids
    columns = [(name, column.tolist()) for name, column in candidates.columns.items() if column.ndim == 1]
    scores = candidates.scores.tolist()
    source_bits = candidates.sources.tolist()
    sources = {
        bits: tuple(name for i, name in enumerate(page.source_names) if bits >> i & 1)
        for bits in set(source_bits)
    }
    return [
        messages.Item(
            position,
            ids[position],
            page.item_type,
            scores[position],
            sources[source_bits[position]],
            {name: values[position] for name, values in columns},
            msgspec.UNSET if reasons is None else reasons[position],
            _why(page, position),
            page.teams[position] if page.teams else msgspec.UNSET,
        )
        for position in range(len(candidates))
    ]


def _why(page: Page, position: int) -> messages.Why | msgspec.UnsetType:
    why = page.why(position)
    return msgspec.UNSET if why is None else messages.Why(why.text, why.item_id)


def _reasons(page: Page) -> list[str]:
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
