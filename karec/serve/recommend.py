"""POST /v1/recommend: a request, or a batch, on the cascade's threads, off the event loop.

Of a batch as many requests stand in the queue as there are threads, the next one behind whoever came
meanwhile: a single request waits for one of a batch, never for all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from starlette.types import Scope

from karec.errors import Unavailable
from karec.pipeline.cascade import Cascade
from karec.pipeline.deadline import REST, part_times
from karec.pipeline.trace import Trace
from karec.pipeline.types import Page, Request
from karec.serve import bodies, wire
from karec.serve.answers import answer_of, cascade_of, request_of
from karec.serve.ids import check_ids
from karec.serve.problems import ProblemError
from karec.serve.service import Served, Service
from karec.serve.straight import Call
from karec.serve.turns import Turn, Turns

_ASKED = msgspec.json.Decoder(wire.Asked)
_BATCH = msgspec.json.Decoder(wire.Batch)
_LEAST_MS = 0.001  # of one whose time those behind it need: all gives way that may


class _Which(msgspec.Struct):
    requests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_WHICH = msgspec.json.Decoder(_Which)


class _NotRun(ProblemError):
    """It did not begin, for a ``reason`` that is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(503, detail, retry_after=1)
        self.reason = reason


@dataclass(frozen=True)
class _One:
    """One request: ``place`` stands before its fields."""

    asked: wire.Asked
    request: Request
    place: str
    turn: Turn


@dataclass(frozen=True)
class _Done:
    feed: Page
    ms: float
    json: bytes


class Recommend:
    """``karec.serve.straight.Straight``. ``admit``: ProblemError for a call that is not let in."""

    def __init__(self, service: Service, admit: Callable[[Scope], None]) -> None:
        self._service, self._admit = service, admit
        self._batches = set[asyncio.Task[None]]()
        self.response = service.metrics.response

    def headed(self, call: Call) -> None:
        try:
            self._admit(call.asked)
            call.served = served = self._service.ready()
            call.most = served.settings.body_kb << 10
            bodies.check_head(call.asked["headers"], call.most)
        except Exception as error:
            call.fails(error)

    def came(self, call: Call) -> None:
        served, body, feeds = call.served, call.body, self._service.feeds
        assert served is not None
        try:
            asked = _single(body)
            if asked is None:
                batch = asyncio.get_running_loop().create_task(self._batch(call, served, body))
                self._batches.add(batch)
                batch.add_done_callback(self._batches.discard)
                return
            one = _one(served, asked, "", call.begun, feeds.turns)
            feeds.check(1, _spare_ms([one], feeds.threads))
        except Exception as error:
            call.fails(error)
            return
        feeds.enters()
        ends = partial(self._ends, call, asyncio.get_running_loop())
        feeds.hand(one.turn, ends, _run, served, one, call, feeds.turns)

    def _ends(
        self, call: Call, loop: asyncio.AbstractEventLoop, done: _Done | None, error: BaseException | None
    ) -> None:
        """On the thread that ran it. What is counted is there before its client has the answer."""
        self._service.feeds.leaves()
        if done is None:
            assert error is not None
            loop.call_soon_threadsafe(self._fails, call, error)
            return
        self._service.metrics.page_served(done.feed, done.ms / 1e3)
        loop.call_soon_threadsafe(self._answered, call, call.writes(done.json), [done])

    def _answered(self, call: Call, left: bytes, done: Sequence[_Done]) -> None:
        call.answered(left)
        self._service.tell_spans([(each.feed, each.ms) for each in done], call.asked)

    def _fails(self, call: Call, error: BaseException) -> None:
        if isinstance(error, _NotRun):
            self._service.metrics.refused(error.reason)
        call.fails(error)

    async def _batch(self, call: Call, served: Served, body: bytes | bytearray) -> None:
        try:
            asked, feeds = bodies.decoded(body, _BATCH).requests, self._service.feeds
            if not 1 <= len(asked) <= served.settings.batch:
                raise ProblemError(
                    422, f"{len(asked)} requests, expected 1 to {served.settings.batch}", "requests"
                )
            turns = feeds.turns
            ones = [_one(served, each, f"requests[{i}].", call.begun, turns) for i, each in enumerate(asked)]
            feeds.check(len(ones), _spare_ms(ones, feeds.threads))
            with feeds.entered(len(ones)):
                done = await self._in_turns(call, served, ones)
        except Exception as error:
            self._fails(call, error)
            return
        for each in done:
            self._service.metrics.page_served(each.feed, each.ms / 1e3)
        left = call.writes(b'{"answers":[%s]}' % b",".join([each.json for each in done]))
        self._answered(call, left, done)

    async def _in_turns(self, call: Call, served: Served, ones: Sequence[_One]) -> list[_Done]:
        """Those of a batch. Once one fails, or the client has left, those behind it do not begin."""
        feeds, left, done = self._service.feeds, iter(enumerate(ones)), dict[int, _Done]()
        failed: list[Exception] = []

        async def work(left: Iterator[tuple[int, _One]]) -> None:
            for at, one in left:
                if failed:
                    return
                try:
                    done[at] = await feeds.call(_run, served, one, call, feeds.turns, turn=one.turn)
                except Exception as error:
                    failed.append(error)

        await asyncio.gather(*(work(left) for _ in range(min(feeds.threads, len(ones)))))
        if failed:
            raise failed[0]
        return [done[at] for at in range(len(ones))]


def _single(body: bytes | bytearray) -> wire.Asked | None:
    """None: it is a batch. ProblemError: it is neither."""
    try:
        return _ASKED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if bodies.decoded(body, _WHICH).requests is msgspec.UNSET:
            return bodies.decoded(body, _ASKED)  # which says what is wrong
        return None


def _one(served: Served, asked: wire.Asked, place: str, begin: float, turns: Turns) -> _One:
    request = request_of(served, asked, place)
    if asked.deadline_ms is None:
        return _One(asked, request, place, Turn())
    least_ms = cascade_of(served, request.scene, place).min_ms * turns.share
    return _One(asked, request, place, Turn(begin + asked.deadline_ms / 1e3, least_ms))


def _spare_ms(ones: Sequence[_One], threads: int) -> float:
    """How long they may wait for a thread and be in time by steps' substitutes; for ever where none has a
    deadline."""
    found, before_ms = math.inf, 0.0
    for one in ones:
        if one.asked.deadline_ms is not None and one.turn.least_ms is not None:
            found = min(found, one.asked.deadline_ms - one.turn.least_ms - before_ms / threads)
            before_ms += one.turn.least_ms
    return found


def _run(served: Served, one: _One, call: Call, turns: Turns) -> _Done:
    """On a thread of the cascade's. The wait for it counts against the deadline, and so do the requests
    behind it."""
    request, turn = one.request, one.turn
    if call.gone:
        raise _NotRun("client left", "the client left while the request waited for a thread")
    if turn.least_ms is not None:
        if time.perf_counter() >= turn.due:
            raise _NotRun("deadline passed", "the deadline passed while the request waited for a thread")
        request = replace(request, deadline_ms=max(turn.may_ms, _LEAST_MS))
    cascade = cascade_of(served, request.scene, one.place)  # a reload may have taken the scene meanwhile
    check_ids(cascade, request, one.place)
    begun = time.perf_counter()
    try:
        feed = served.live.run(request)
    except Unavailable as error:
        raise ProblemError(503, f"a step cannot answer now: {error}", retry_after=1) from error
    ms = (time.perf_counter() - begun) * 1e3
    if turn.least_ms is not None:
        turns.took(ms, usually_ms(cascade, feed.trace))
    return _Done(feed, ms, wire.encoded(answer_of(feed, one.asked, ms)))


def usually_ms(cascade: Cascade, trace: Trace) -> float:
    """What the steps that ran in ``trace`` usually take, added up, and what is beside all steps."""
    parts = part_times(trace.steps, [stage.name for stage in cascade.stages])
    return sum(map(cascade.run_times.p90_ms, [*parts, REST]))
