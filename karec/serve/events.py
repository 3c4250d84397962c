"""POST /v1/events and POST /v1/items: stores events of users, and changes of items."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, get_args

import msgspec
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.errors import Unavailable
from karec.serve import messages
from karec.serve.problems import ProblemError, unavailable
from karec.serve.service import Served, Service

USER_EVENT_NAMES = get_args(messages.UserEventName)
ITEM_EVENT_NAMES = get_args(messages.ItemEventName)

_USER_EVENTS = msgspec.json.Decoder(messages.UserEvents)
_ITEM_EVENTS = msgspec.json.Decoder(messages.ItemEvents)


async def post_events(call: Call) -> Response:
    return await _record(call, _USER_EVENTS, "events")


async def post_items(call: Call) -> Response:
    return await _record(call, _ITEM_EVENTS, "items")


async def _record(call: Call, decoder: msgspec.json.Decoder[Any], field: str) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    if not served.has_online_store:
        raise ProblemError(
            409, 'the service stores no events: add [online] url = "sqlite:online.db" to karec.toml'
        )
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    rows: list[Any] = getattr(messages.decode(body, decoder), field)
    if len(rows) > served.settings.max_events:
        reason = f"{len(rows)} rows, expected at most {served.settings.max_events}"
        raise ProblemError(422, reason, field)
    service.event_queue.check()
    result = await service.event_queue.run(partial(_store, served, rows, field))
    service.metrics.count_events(result.events, result.refused)
    return Response(messages.encode(result), media_type="application/json")


def _store(served: Served, rows: list[Any], field: str) -> messages.Recorded:
    other_events, other_path = USER_EVENT_NAMES, "/v1/events"
    if field == "events":
        other_events, other_path = ITEM_EVENT_NAMES, "/v1/items"
    misplaced: Counter[str] = Counter()
    own_rows = []
    for row in rows:
        event = row.get("event") if isinstance(row, dict) else None
        if isinstance(event, str) and event in other_events:
            misplaced[f"{event} goes to {other_path}"] += 1
        else:
            own_rows.append(row)
    try:
        acknowledged = served.hot_swap.record(own_rows)
    except Unavailable as error:
        raise unavailable("the events were not stored", error) from error
    return messages.Recorded(acknowledged.events, {**acknowledged.refused, **misplaced})
