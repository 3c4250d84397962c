"""Removed keys, values and steps of karec.toml, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping

REMOVED: Mapping[str, str] = {
    "model = 'first'": "Delete the stage. To save time, lower limits.prerank of the scene.",
    "recall.floor": "Use 'min_items'.",
    **dict.fromkeys(
        ("query.substitute", "recall.substitute", "steps.substitute", "stages.substitute"),
        "Use 'fallback' of a stage: a list of steps with the filters and rules of the stage.",
    ),
    **{
        f"use = {old!r}": f"Use {new!r}."
        for old, new in {
            "i2i": "item_to_item",
            "on_now": "open_now",
            "is_on": "is_open",
            "as_user": "same_as_user",
            "scatter": "page_rules",
            "random": "karec.lab.simulate.random_order:RandomOrder",
        }.items()
    },
    ".live": 'Use [online] with url = "sqlite:online.db".',
    "online.state": "Use 'url', such as \"sqlite:online.db\".",
    "online.events": "Delete it: the online store of 'url' has the events.",
    "scenes.items": "Use 'item_type'.",
    "scenes.request": "Use 'query'.",
    "scenes.observers": "Use 'side_effects'.",
    "scenes.counts": "Use 'limits'.",
    "scenes.candidates": "Use 'limits.recall'.",
    "exposure.controller": "Delete it: the only controller is dual ascent, 'dual'.",
    "exposure.state": "Delete it: the processes share the exposure counters through the online store.",
    "exposure.floors": "Use 'guarantees'.",
    "exposure.spread": "Use 'fairness'.",
    "exposure.places_a_day": "Use 'impressions_per_day'.",
    **dict.fromkeys(
        ("use = 'exposure'", "use = 'exposures'", "use = 'exposure_prices'"),
        "Delete the entry: a scene with a table `exposure` has exposure_control and exposure_counter.",
    ),
    **{
        f"serve.{old}": f"Use {new!r}."
        for old, new in {
            "wait_ms": "max_queue_ms",
            "requests_at_once": "max_queue_size",
            "body_kb": "max_body_kb",
            "k": "max_k",
            "shown": "max_seen_items",
            "batch": "max_batch_size",
            "events": "max_events",
            "works_token": "items_token",
        }.items()
    },
    "serve.exposure": "Delete it: windows of exposure are queries in Prometheus (docs/serving.md).",
}
"""Advice by `table.key`, or by `key = 'value'`. It is deleted with version 0.1.0."""
