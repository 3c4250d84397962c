"""POST /v1/recommend: a request, or a batch, on the cascade's threads, off the event loop.

Of a batch as many requests stand in the queue as there are threads, the next one behind whoever came meanwhile: a
single request waits for one of a batch, never for all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
from starlette.types import Receive, Scope, Send

from karec.errors import Unavailable
from karec.recommendation import Recommendation
from karec.serve import bodies, wire
from karec.serve.answers import answer_of, cascade_of, request_of
from karec.serve.ids import check_ids
from karec.serve.problems import ProblemError
from karec.serve.service import Served, Service
from karec.serve.turns import Turn
from karec.types import Request

_ASKED = msgspec.json.Decoder(wire.Asked)
_BATCH = msgspec.json.Decoder(wire.Batch)
_JSON = b"content-type", b"application/json"
_LEAST_MS = 0.001  # of one whose time those behind it need: all gives way that may


class _Which(msgspec.Struct):
    requests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_WHICH = msgspec.json.Decoder(_Which)


class _TooLate(ProblemError):
    """Its deadline passed before a thread was free."""


@dataclass(frozen=True)
class _One:
    """One request: ``place`` stands before its fields."""

    asked: wire.Asked
    request: Request
    place: str
    turn: Turn


@dataclass(frozen=True)
class _Done:
    feed: Recommendation
    ms: float
    json: bytes


class Recommend:
    """ASGI. ProblemError: why it is not answered; nothing of the answer is sent then."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin, service = time.perf_counter(), self._service
        served = service.ready()
        body = await bodies.read(scope, receive, served.settings.body_kb << 10)
        one = _single(body)
        if one is not None:
            done = await self._answered(served, [one], begin, "")
            answer = done[0].json
        else:
            asked = bodies.decoded(body, _BATCH).requests
            if not 1 <= len(asked) <= served.settings.batch:
                raise ProblemError(422, f"{len(asked)} requests, expected 1 to {served.settings.batch}", "requests")
            done = await self._answered(served, asked, begin, "requests[{}].")
            answer = b'{"answers":[%s]}' % b",".join([each.json for each in done])
        headers = [_JSON, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        service.answered([(each.feed, each.ms) for each in done], scope)

    async def _answered(self, served: Served, asked: Sequence[wire.Asked], begin: float, place: str) -> list[_Done]:
        feeds = self._service.feeds
        ones = [_one(served, each, place.format(i), begin) for i, each in enumerate(asked)]
        feeds.check(len(ones), _spare_ms(ones, feeds.threads))
        try:
            with feeds.entered(len(ones)):
                if len(ones) == 1:
                    return [await feeds.call(_run, served, ones[0], turn=ones[0].turn)]
                return await self._in_turns(served, ones)
        except _TooLate:
            self._service.metrics.refused("deadline passed")
            raise

    async def _in_turns(self, served: Served, ones: Sequence[_One]) -> list[_Done]:
        """Those of a batch. One that fails refuses all: those behind it do not begin."""
        feeds, left, done = self._service.feeds, iter(enumerate(ones)), dict[int, _Done]()
        failed: list[Exception] = []

        async def work(left: Iterator[tuple[int, _One]]) -> None:
            for at, one in left:
                if failed:
                    return
                try:
                    done[at] = await feeds.call(_run, served, one, turn=one.turn)
                except Exception as error:
                    failed.append(error)

        await asyncio.gather(*(work(left) for _ in range(min(feeds.threads, len(ones)))))
        if failed:
            raise failed[0]
        return [done[at] for at in range(len(ones))]


def _single(body: bytes) -> wire.Asked | None:
    """None: it is a batch. ProblemError: it is neither."""
    try:
        return _ASKED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if bodies.decoded(body, _WHICH).requests is msgspec.UNSET:
            return bodies.decoded(body, _ASKED)  # which says what is wrong
        return None


def _one(served: Served, asked: wire.Asked, place: str, begin: float) -> _One:
    request = request_of(served, asked, place)
    if asked.deadline_ms is None:
        return _One(asked, request, place, Turn())
    least_ms = cascade_of(served, request.scene, place).least_ms
    return _One(asked, request, place, Turn(begin + asked.deadline_ms / 1e3, least_ms))


def _spare_ms(ones: Sequence[_One], threads: int) -> float:
    """How long they may wait for a thread and be in time by steps' substitutes; for ever where none has a deadline."""
    found, before_ms = math.inf, 0.0
    for one in ones:
        if one.asked.deadline_ms is not None and one.turn.least_ms is not None:
            found = min(found, one.asked.deadline_ms - one.turn.least_ms - before_ms / threads)
            before_ms += one.turn.least_ms
    return found


def _run(served: Served, one: _One) -> _Done:
    """On a thread of the cascade's. The wait for it counts against the deadline, and so do the requests behind it."""
    request, turn = one.request, one.turn
    if turn.least_ms is not None:
        if time.perf_counter() >= turn.due:
            raise _TooLate(503, "the deadline passed while the request waited for a thread", retry_after=1)
        request = replace(request, deadline_ms=max(turn.may_ms, _LEAST_MS))
    cascade = cascade_of(served, request.scene, one.place)  # a reload may have taken the scene meanwhile
    check_ids(cascade, request, one.place)
    begun = time.perf_counter()
    try:
        feed = served.live.run(request)
    except Unavailable as error:
        raise ProblemError(503, f"a step cannot answer now: {error}", retry_after=1) from error
    ms = (time.perf_counter() - begun) * 1e3
    return _Done(feed, ms, wire.encoded(answer_of(feed, one.asked, ms)))
