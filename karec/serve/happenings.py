"""POST /v1/events and /v1/works: what happened goes into the event log, and from there to the next
request."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from karec.online.reported import UNWRITTEN
from karec.serve import bodies, wire
from karec.serve.problems import ProblemError
from karec.serve.service import Served, Service

_EVENTS = msgspec.json.Decoder(wire.Events)
_WORKS = msgspec.json.Decoder(wire.Works)


async def events(call: Request) -> Response:
    return await _recorded(call, _EVENTS, "events", wire.USER_KINDS, "/v1/works")


async def works(call: Request) -> Response:
    return await _recorded(call, _WORKS, "works", wire.WORK_KINDS, "/v1/events")


async def _recorded(
    call: Request, decoder: msgspec.json.Decoder[Any], name: str, kinds: tuple[str, ...], other: str
) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    if not served.records:
        raise ProblemError(
            409,
            'the service keeps no events: add [live] state = "state", events = "events" to its karec.toml',
        )
    body = await bodies.read(call.scope, call.receive, served.settings.body_kb << 10)
    rows: list[Any] = getattr(bodies.decoded(body, decoder), name)
    if len(rows) > served.settings.events:
        raise ProblemError(
            422, f"{len(rows)} rows, at most {served.settings.events} are taken in one call", name
        )
    service.aside.check()
    with service.aside.entered():
        found = await service.aside.call(_record, service, served, rows, kinds, other)
    return Response(wire.encoded(found), media_type="application/json")


def _record(
    service: Service, served: Served, rows: list[Any], kinds: tuple[str, ...], other: str
) -> wire.Recorded:
    elsewhere, taken = Counter[str](), []
    for row in rows:
        kind = row.get("kind") if isinstance(row, dict) else None
        if isinstance(kind, str) and kind not in kinds and kind in (*wire.USER_KINDS, *wire.WORK_KINDS):
            elsewhere[f"{kind} goes to {other}"] += 1
        else:
            taken.append(row)
    told = served.live.record(taken)
    if UNWRITTEN in told.refused:  # none is in the log, and whoever sends them again may find it mended
        raise ProblemError(503, f"{UNWRITTEN}; the service's own log says why", retry_after=1)
    service.metrics.events_recorded(told.events, told.refused)
    return wire.Recorded(told.events, {**told.refused, **elsewhere}, told.waiting)
