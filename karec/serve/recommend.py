"""POST /v1/recommend: a request, or a batch, on the cascade's threads, off the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from starlette.requests import Request as Call
from starlette.responses import Response

from karec._toml import nearest
from karec.config import Cascade
from karec.errors import Unavailable
from karec.serve import bodies, wire
from karec.serve.admission import Lane
from karec.serve.ids import check_ids
from karec.serve.problems import ProblemError
from karec.serve.reasons import reasons
from karec.serve.service import Served, Service
from karec.types import EMPTY, Recommendation, Request

_ASKED = msgspec.json.Decoder(wire.Asked)
_BATCH = msgspec.json.Decoder(wire.Batch)


class _Which(msgspec.Struct):
    requests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_WHICH = msgspec.json.Decoder(_Which)


class _TooLate(ProblemError):
    """Its deadline passed before a thread was free."""


async def recommend(call: Call) -> Response:
    begin = time.perf_counter()
    service: Service = call.app.state.service
    served = service.ready()
    parent = call.headers.get("traceparent")
    body = await bodies.read(call, served.settings.body_kb << 10)
    if bodies.decoded(body, _WHICH).requests is msgspec.UNSET:
        (found,) = await _answered(service, served, [bodies.decoded(body, _ASKED)], begin, "", parent)
        return Response(wire.encoded(found), media_type="application/json")
    asked = bodies.decoded(body, _BATCH).requests
    if not 1 <= len(asked) <= served.settings.batch:
        raise ProblemError(422, f"{len(asked)} requests, expected 1 to {served.settings.batch}", "requests")
    answers = await _answered(service, served, asked, begin, "requests[{}].", parent)
    return Response(wire.encoded(wire.Answers(answers)), media_type="application/json")


async def _answered(
    service: Service, served: Served, asked: Sequence[wire.Asked], begin: float, place: str, traceparent: str | None
) -> list[wire.Answer]:
    requests = [request_of(served, each, place.format(i)) for i, each in enumerate(asked)]
    spare = (_spare_ms(served, each, request.scene) for each, request in zip(asked, requests, strict=True))
    service.feeds.check(len(asked), min(spare))
    with service.feeds.entered(len(asked)):
        runs = [
            service.feed_threads.call(_run, service.feeds, served, request, each, begin, place.format(i))
            for i, (request, each) in enumerate(zip(requests, asked, strict=True))
        ]
        if len(runs) > 1:
            await asyncio.wait(runs)  # all of them, though one may fail
        try:
            done = [await run for run in runs]
        except _TooLate:
            service.metrics.refused("deadline passed")
            raise
    loop = asyncio.get_running_loop()
    for feed, answer in done:
        service.feeds.took(answer.ms)
        loop.call_soon(service.answered, feed, answer.ms, traceparent)  # after the answer is written
    return [answer for _, answer in done]


def request_of(served: Served, asked: wire.Asked, place: str) -> Request:
    """ProblemError 422 for what is beyond the service's limits, and for a scene that it does not serve."""
    settings, scene = served.settings, served.scene_of(asked.scene)
    _cascade(served, scene, place)
    if asked.k > settings.k:
        raise ProblemError(422, f"k = {asked.k}, at most {settings.k} works are answered", f"{place}k")
    if len(asked.shown) > settings.shown:
        raise ProblemError(422, f"{len(asked.shown)} works, at most {settings.shown} are taken", f"{place}shown")
    for i, each in [(None, asked.user), *enumerate(asked.shown)]:
        if not isinstance(each, str) and not -(2**63) <= each < 2**63:
            raise ProblemError(422, "an id must fit 64 bits", f"{place}user" if i is None else f"{place}shown[{i}]")
    features = {f"context.{name}": np.asarray(value) for name, value in asked.context.items() if value is not None}
    return Request(
        asked.user,
        k=asked.k,
        scene=scene,
        time_ms=asked.time_ms,
        shown=tuple(asked.shown),
        request_id=asked.request_id,
        explain=asked.explain,
        features=features or EMPTY,
    )


def _cascade(served: Served, scene: str, place: str) -> Cascade:
    cascades = served.live.cascades
    if scene not in cascades:
        why = f"no scene {scene!r}{nearest(scene, cascades)}; served are {[*cascades]}"
        raise ProblemError(422, why, f"{place}scene")
    return cascades[scene]


def _spare_ms(served: Served, asked: wire.Asked, scene: str) -> float:
    """How long it may wait for a thread and be in time by steps' substitutes; for ever where it has no deadline."""
    return math.inf if asked.deadline_ms is None else asked.deadline_ms - _cascade(served, scene, "").least_ms


def _run(
    feeds: Lane, served: Served, request: Request, asked: wire.Asked, begin: float, place: str
) -> tuple[Recommendation, wire.Answer]:
    """On a thread of the cascade's. The wait for it counts against the deadline, and so do the requests behind it: of
    what is left it takes its share, so that where many wait, steps give way before requests are refused.
    """
    start = time.perf_counter()
    if asked.deadline_ms is not None:
        left_ms = asked.deadline_ms - (start - begin) * 1e3
        if left_ms <= 0:
            raise _TooLate(503, "the deadline passed while the request waited for a thread", retry_after=1)
        request = replace(request, deadline_ms=left_ms / feeds.turns())
    cascade = _cascade(served, request.scene, place)  # a reload may have taken the scene meanwhile
    check_ids(cascade, request, place)
    begun = time.perf_counter()
    try:
        feed = served.live.run(request)
    except Unavailable as error:
        raise ProblemError(503, f"a step cannot answer now: {error}", retry_after=1) from error
    return feed, answer_of(feed, asked, (time.perf_counter() - begun) * 1e3)


def answer_of(feed: Recommendation, asked: wire.Asked, ms: float) -> wire.Answer:
    whys: Sequence[str | msgspec.UnsetType] = reasons(feed) if asked.explain else [msgspec.UNSET] * len(feed)
    items = [
        wire.Found(item.position, item.id, item.score, item.recalled_by, dict(item.columns), why)
        for item, why in zip(feed, whys, strict=True)
    ]
    return wire.Answer(
        request_id=feed.request.request_id,
        user=asked.user,
        scene=feed.request.scene,
        items=items,
        degraded=feed.degraded,
        cold_start=feed.cold_start,
        versions=dict(feed.versions),
        short=None if feed.short is None else str(feed.short),
        ms=round(ms, 3),
        trace=[step.as_dict() for step in feed.trace.steps] if asked.explain else msgspec.UNSET,
    )
