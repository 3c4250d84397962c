"""POST /v1/recommend: one page or a batch of pages. POST /v1/rank: the caller's items in order.

The cascade runs on threads of the admission queue.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np
from starlette.background import BackgroundTask
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.errors import Unavailable, nearest
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import EMPTY, Page, Request
from karec.serve import messages
from karec.serve.admission import AdmissionQueue
from karec.serve.page_token import context_of, make_token, read_token
from karec.serve.problems import ProblemError, unavailable
from karec.serve.request_checks import (
    check_all_bits,
    check_ids,
    check_new_condition,
    check_stage,
    check_where,
)
from karec.serve.responses import to_response
from karec.serve.service import Served, Service

# Multiple of the summed p90 of the steps that covers the run time of nearly every page. Under overload all
# admitted requests wait as long as they may, so with 1.0 every tenth page would be late.
TAIL_FACTOR = 2.0

_PAGE_REQUEST = msgspec.json.Decoder(messages.PageRequest)
_RANK_REQUEST = msgspec.json.Decoder(messages.RankRequest)
_BATCH_REQUEST = msgspec.json.Decoder(messages.BatchRequest)


class _Kind(msgspec.Struct):
    requests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_KIND = msgspec.json.Decoder(_Kind)


@dataclass(frozen=True)
class _Answer:
    """A page with its JSON. `seconds`: run time of the cascade."""

    page: Page
    json: bytes
    seconds: float


@dataclass(frozen=True)
class _Job:
    """One request of a call. `prefix` precedes its fields in a problem; `due` is of time.perf_counter.
    `n_pages`: number of pages before this one."""

    message: messages.PageRequest
    request: Request
    prefix: str
    due: float
    n_pages: int


async def recommend(call: Call) -> Response:
    arrival = time.perf_counter()
    service: Service = call.app.state.service
    served = service.ready()
    queue = service.recommend_queue
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    batch = _decode(body)
    if isinstance(batch, messages.PageRequest):
        job = _to_job(served, batch, "", arrival)
        queue.check(_max_wait_ms(served, [job]))
        answers = [await queue.run(partial(_run, served, job, queue))]
        content = answers[0].json
    else:
        if not 1 <= len(batch.requests) <= served.settings.max_batch_size:
            reason = f"{len(batch.requests)} requests, expected 1 to {served.settings.max_batch_size}"
            raise ProblemError(422, reason, "requests")
        jobs = [
            _to_job(served, message, f"requests[{i}].", arrival) for i, message in enumerate(batch.requests)
        ]
        queue.check(_max_wait_ms(served, jobs))
        answers = await _run_batch(call, queue, served, jobs)
        content = b'{"pages":[%s]}' % b",".join([answer.json for answer in answers])
    background = BackgroundTask(_count_pages, service, answers)
    return Response(content, media_type="application/json", background=background)


async def rank(call: Call) -> Response:
    arrival = time.perf_counter()
    service: Service = call.app.state.service
    served = service.ready()
    queue = service.recommend_queue
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    job = _to_job(served, messages.decode(body, _RANK_REQUEST), "", arrival)
    queue.check(_max_wait_ms(served, [job]))
    answer = await queue.run(partial(_run, served, job, queue))
    background = BackgroundTask(_count_pages, service, [answer])
    return Response(answer.json, media_type="application/json", background=background)


async def _count_pages(service: Service, answers: Sequence[_Answer]) -> None:
    """Counts pages after the response was sent."""
    for answer in answers:
        service.metrics.count_page(answer.page, answer.seconds)


def _decode(body: bytes) -> messages.PageRequest | messages.BatchRequest:
    try:
        return _PAGE_REQUEST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        is_single = messages.decode(body, _KIND).requests is msgspec.UNSET
        return messages.decode(body, _PAGE_REQUEST) if is_single else messages.decode(body, _BATCH_REQUEST)


async def _run_batch(
    call: Call, queue: AdmissionQueue, served: Served, jobs: Sequence[_Job]
) -> list[_Answer]:
    """Queues at most as many jobs as there are threads: a single request waits for one job, not for all.

    After a failure, or if the client disconnected, no other job begins.
    """
    slots = asyncio.Semaphore(queue.threads)

    async def run(job: _Job) -> _Answer:
        async with slots:
            if await call.is_disconnected():
                raise ProblemError(503, "the client left", retry_after_s=0, reason="client left")
            return await queue.run(partial(_run, served, job, queue))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(job)) for job in jobs]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _to_job(served: Served, message: messages.PageRequest, prefix: str, arrival: float) -> _Job:
    due = math.inf if message.deadline_ms is None else arrival + message.deadline_ms / 1e3
    request = to_request(served, message, prefix)
    n_pages, shown = _read_after(served, message, prefix)
    return _Job(message, replace(request, shown=(*shown, *request.shown)), prefix, due, n_pages)


def _max_wait_ms(served: Served, jobs: Sequence[_Job]) -> float:
    """Returns the longest wait after which the cascade with its fallbacks still meets the deadlines."""
    now = time.perf_counter()
    return min(
        math.inf
        if job.due == math.inf
        else (job.due - now) * 1e3 - _tail_ms(cascade_of(served, job.request.scene, job.prefix))
        for job in jobs
    )


def _tail_ms(cascade: Cascade) -> float:
    return TAIL_FACTOR * cascade.min_ms


def _run(served: Served, job: _Job, queue: AdmissionQueue) -> _Answer:
    request = job.request
    cascade = cascade_of(served, request.scene, job.prefix)  # a reload may have removed the scene meanwhile
    if job.due < math.inf:
        left_ms = (job.due - time.perf_counter()) * 1e3
        # a page that would be late gives its thread to the requests that wait
        if left_ms <= (_tail_ms(cascade) if queue.has_waiting_calls else 0.0):
            reason = "deadline passed"
            raise ProblemError(503, f"{reason} while the request waited", retry_after_s=0, reason=reason)
        request = replace(request, deadline_ms=left_ms)
    check_ids(cascade, request, job.prefix)
    check_where(cascade, request.where, job.prefix)
    check_new_condition(served, cascade, request.where, job.prefix)
    if request.item_ids is not None:
        check_stage(cascade, request.first_stage)
    if request.events:
        request = _with_session(served, cascade, request, job)
    start = time.perf_counter()
    try:
        page = served.hot_swap.run(request)
    except Unavailable as error:
        raise unavailable("a step is not available", error) from error
    seconds = time.perf_counter() - start
    response = to_response(page, job.message, seconds * 1e3)
    if served.page_keys and request.item_ids is None and len(page):
        response = msgspec.structs.replace(response, next=_next_token(served, job, response))
    return _Answer(page, messages.encode(response), seconds)


def _with_session(served: Served, cascade: Cascade, request: Request, job: _Job) -> Request:
    """Returns the request; without its events if it wants them stored, since then the store has them.

    Raises ProblemError 422 for a row that is not an event, and 503 if the store cannot be read or written.
    """
    try:
        cascade.check_session(request)
    except ValueError as error:
        raise ProblemError(422, str(error), f"{job.prefix}events") from None
    except Unavailable as error:
        raise unavailable("the events were not checked", error) from error
    if not job.message.store:
        return request
    if served.settings.events_token is not None:
        reason = "events are stored with events_token: send them to POST /v1/events"
        raise ProblemError(422, reason, f"{job.prefix}store")
    try:
        served.hot_swap.record([{**row, "user_id": job.message.user_id} for row in request.events])
    except Unavailable as error:
        raise unavailable("the events were not stored", error) from error
    return replace(request, events=())


def _next_token(served: Served, job: _Job, page: messages.PageResponse) -> str:
    context = _context(job.message, page.scene)
    shown = [*job.request.shown, *(item.item_id for item in page.items)]
    return make_token(served.page_keys[0], context, job.n_pages + 1, shown, int(time.time()))


def _context(message: messages.PageRequest, scene: str) -> bytes:
    return context_of(message.user_id, scene, message.where, message.exclude_ids, message.only_ids)


def _read_after(
    served: Served, message: messages.PageRequest, prefix: str
) -> tuple[int, tuple[int | str, ...]]:
    """Returns the number of pages before this one, and the items on them."""
    if message.after is None:
        return 0, ()
    field, scene = f"{prefix}after", served.scene_of(message.scene)
    if not served.page_keys:
        raise ProblemError(422, "the service has no page_key in [serve]", field)
    cascade = cascade_of(served, scene, prefix)
    for part in (cascade, *cascade.parts):
        if "not_shown" not in [step.name for stage in part.stages for step in stage.steps]:
            raise ProblemError(422, f"the scene {part.scene!r} has no filter not_shown", field)
    return read_token(served.page_keys, _context(message, scene), message.after, int(time.time()), field)


def cascade_of(served: Served, scene: str, prefix: str = "") -> Cascade:
    """Raises ProblemError 422 if the scene is not served."""
    cascades = served.hot_swap.cascades
    if scene not in cascades:
        reason = f"no scene {scene!r}{nearest(scene, cascades)}; served are {[*cascades]}"
        raise ProblemError(422, reason, f"{prefix}scene")
    return cascades[scene]


def to_request(served: Served, message: messages.PageRequest, prefix: str = "") -> Request:
    """Raises ProblemError 422 if a value is beyond the limits of the service, or the scene is not served.

    `prefix` precedes the field in the problem.
    """
    settings = served.settings
    scene = served.scene_of(message.scene)
    cascade = cascade_of(served, scene, prefix)
    k = message.k
    if isinstance(message, messages.RankRequest):
        k = min(k, len(message.item_ids), settings.max_k)
    if k > settings.max_k:
        raise ProblemError(422, f"k is {message.k}, expected at most {settings.max_k}", f"{prefix}k")
    if len(message.shown) > settings.max_seen_items:
        reason = f"{len(message.shown)} items, expected at most {settings.max_seen_items}"
        raise ProblemError(422, reason, f"{prefix}shown")
    check_all_bits(message, prefix)
    context = {
        f"context.{name}": np.asarray(value) for name, value in message.context.items() if value is not None
    }
    request = Request(
        message.user_id,
        k=k,
        scene=scene,
        time_ms=message.time_ms,
        shown=tuple(message.shown),
        request_id=message.request_id,
        explain=message.explain,
        features=context or EMPTY,
        where=message.where,
        exclude_ids=message.exclude_ids,
        only_ids=message.only_ids,
        events=tuple(message.events),
        session_id=message.session_id,
        arms=message.arms,
    )
    check_where(cascade, message.where, prefix)
    if not isinstance(message, messages.RankRequest):
        return request
    check_stage(cascade, message.first_stage)
    return replace(request, item_ids=tuple(message.item_ids), first_stage=message.first_stage)
