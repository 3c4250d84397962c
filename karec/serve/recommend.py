"""POST /v1/recommend: one page or a batch of pages. POST /v1/rank: the caller's items in order.

The cascade runs on threads of the admission queue.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

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
from karec.serve.service import Served, Service
from karec.where import Where

# Multiple of the summed p90 of the steps that covers the run time of nearly every page. Under overload all
# admitted requests wait as long as they may, so with 1.0 every tenth page would be late.
TAIL_FACTOR = 2.0
MAX_ID_LETTERS = 64  # of a wrong id in a message
ID_LISTS = ("shown", "item_ids", "exclude_ids", "only_ids")  # fields with several ids

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
        _check_stage(cascade, request.first_stage)
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
    steps = [step.name for stage in cascade_of(served, scene, prefix).stages for step in stage.steps]
    if "not_shown" not in steps:
        raise ProblemError(422, f"the scene {scene!r} has no filter not_shown", field)
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
    for field, ids in _ids_of(message).items():
        for i, id in enumerate(ids):
            if not isinstance(id, str) and not -(2**63) <= id < 2**63:
                check_bits(id, prefix + _place(field, i))
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
    )
    check_where(cascade, message.where, prefix)
    if not isinstance(message, messages.RankRequest):
        return request
    _check_stage(cascade, message.first_stage)
    return replace(request, item_ids=tuple(message.item_ids), first_stage=message.first_stage)


def check_bits(id: int | str, field: str) -> None:
    """Raises ProblemError 422 for an integer beyond 64 bits."""
    if not isinstance(id, str) and not -(2**63) <= id < 2**63:
        raise ProblemError(422, "expected an id of 64 bits", field)


def check_where(cascade: Cascade, where: Where | None, prefix: str = "") -> None:
    """Raises ProblemError 422 if the items of the cascade lack a column, or it has another type."""
    if where is None:
        return
    try:
        cascade.check_where(where)
    except ValueError as error:
        raise ProblemError(422, str(error), f"{prefix}where") from None


def check_new_condition(served: Served, cascade: Cascade, where: Where | None, prefix: str = "") -> None:
    """Raises ProblemError 429 if the cascade has no mask of the condition, and no new one may be made now."""
    if where is None or where in cascade.masks:
        return
    wait_s = served.new_conditions.take()
    if wait_s:
        reason = "too many new conditions"
        detail = (
            f"{reason}: a worker evaluates at most {served.new_conditions.per_second} new ones a second. "
            "Use the same condition in many requests, for example with times that are rounded to the hour."
        )
        raise ProblemError(429, detail, f"{prefix}where", retry_after_s=wait_s, reason=reason)


def _check_stage(cascade: Cascade, name: str) -> None:
    stages = [stage.name for stage in cascade.stages]
    if name not in stages:
        reason = f"no stage {name!r}{nearest(name, stages)}; there are {stages}"
        raise ProblemError(422, reason, "first_stage")


def check_ids(cascade: Cascade, request: Request, prefix: str = "") -> None:
    """Raises ProblemError 422 if an id is not of the platform's kind, integer or string."""
    naming = None if cascade.bundle is None else cascade.bundle.naming
    for field, ids in _ids_of(request).items():
        if naming is None:
            for i, id in enumerate(ids):
                if isinstance(id, str):
                    reason = f"{id[:MAX_ID_LETTERS]!r}: ids of this platform are integers"
                    raise ProblemError(422, reason, prefix + _place(field, i))
            continue
        numbers = (naming.users if field == "user_id" else naming.items).numbers
        try:
            numbers([*ids])
        except (ValueError, OverflowError, TypeError):
            for i, id in enumerate(ids):
                try:
                    numbers([id])
                except (ValueError, OverflowError, TypeError) as error:
                    raise ProblemError(422, str(error)[:200], prefix + _place(field, i)) from None


def _ids_of(request: Request | messages.PageRequest) -> dict[str, Sequence[int | str]]:
    """Returns {field: ids} of the fields that have ids."""
    lists = {field: getattr(request, field, None) for field in ID_LISTS}
    return {"user_id": (request.user_id,)} | {
        field: ids for field, ids in lists.items() if ids is not None and len(ids)
    }


def _place(field: str, i: int) -> str:
    return f"{field}[{i}]" if field in ID_LISTS else field


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
        items=_items(page, _reasons(page) if is_explained else None),
        degraded=page.degraded,
        is_cold_start=page.is_cold_start,
        versions=dict(page.versions),
        shortfall=None if page.shortfall is None else str(page.shortfall),
        run_ms=round(run_ms, 3),
        trace=[step.to_dict() for step in page.trace.steps] if is_explained else msgspec.UNSET,
    )


def _items(page: Page, reasons: Sequence[str] | None) -> list[messages.Item]:
    """Returns the items of `page.items`. It makes no PageItem: that would take most of the time here."""
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
            scores[position],
            sources[source_bits[position]],
            {name: values[position] for name, values in columns},
            msgspec.UNSET if reasons is None else reasons[position],
            _why(page, position),
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
