"""GET and POST /v1/try: what of each scene can be tried, and a feed with other settings. Only where the page
is on."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.bundle import Bundle
from karec.catalog.schema import CREATOR, PUBLISHED, SONG, TAG, TYPE
from karec.catalog.table import Table
from karec.errors import ContractError, Unavailable
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Page, Request
from karec.serve import messages, tries
from karec.serve.items import ids_of
from karec.serve.problems import ProblemError
from karec.serve.recommend import check_ids, to_request, to_response
from karec.serve.service import Served, Service


class Trial(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    user_id: messages.Id
    scene: messages.Name | None = None
    k: Annotated[int, msgspec.Meta(ge=1)] = 10
    diversity: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    without: Annotated[list[Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(max_length=64)] = []
    time_ms: messages.TimeMs | None = None


class Tried(msgspec.Struct, frozen=True):
    feed: messages.PageResponse
    works: list[dict[str, Any]]


_TRIAL = msgspec.json.Decoder(Trial)
HOUR_MS = 3_600_000
SAMPLED = {"most": 1.0, "many": 0.9, "some": 0.5, "few": 0.1}  # users by how long their history is
HISTORY = "history"


async def called(call: Call) -> Response:
    return await (tried(call) if call.method == "POST" else choices(call))


async def choices(call: Call) -> Response:
    service, served = _on(call)
    found = await service.lookup_queue.run(partial(_choices, served))
    return Response(
        messages.encode(found), media_type="application/json", headers={"cache-control": "no-store"}
    )


async def tried(call: Call) -> Response:
    service, served = _on(call)
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    trial = messages.decode(body, _TRIAL)
    asked = messages.PageRequest(trial.user_id, trial.scene, trial.k, time_ms=trial.time_ms, explain=True)
    request = to_request(served, asked)
    service.lookup_queue.check()
    found = await service.lookup_queue.run(partial(_tried, served, request, asked, trial))
    return Response(
        messages.encode(found), media_type="application/json", headers={"cache-control": "no-store"}
    )


def _on(call: Call) -> tuple[Service, Served]:
    service: Service = call.app.state.service
    if not service.settings.shows_page:
        raise ProblemError(404, "the page is off: [serve] page = true turns it on, and what it calls")
    return service, service.ready()


def _choices(served: Served) -> dict[str, Any]:
    """{"scene": the one that is asked for where none is named, "k": the most, "scenes": {name: …}}."""
    found = {name: _of_scene(cascade) for name, cascade in served.hot_swap.cascades.items()}
    return {"scene": served.scene_of(None), "k": served.settings.max_k, "scenes": found}


def _of_scene(cascade: Cascade) -> dict[str, Any]:
    """``works``: whether its items are works, of which GET /v1/works/ID tells more. ``moment_ms``: the
    bundle's."""
    naming = None if cascade.bundle is None else cascade.bundle.naming
    return {
        "moment_ms": None if cascade.bundle is None else cascade.bundle.snapshot.time_ms,
        "works": isinstance(cascade.bundle, Bundle),
        "ids": "integer" if naming is None else naming.users.kind,
        "users": _sampled_users(cascade),
        "diversity": tries.tried_diversity(cascade),
        "steps": [asdict(choice) for choice in tries.choices(cascade)],
    }


def _sampled_users(cascade: Cascade) -> list[dict[str, Any]]:
    """A few users, by the length of their history in the bundle."""
    if cascade.bundle is None:
        return []
    snapshot = cascade.bundle.snapshot
    ids = snapshot.users.ids
    history = snapshot.relations.get(HISTORY)
    lengths = np.zeros(len(ids), np.int64) if history is None else np.diff(history.indptr)
    order = np.argsort(lengths, kind="stable")
    if not len(order):
        return []
    rows = order[[int(share * (len(order) - 1)) for share in SAMPLED.values()]]
    names = ids_of(ids[rows], "friends", cascade.bundle.naming)  # named as users are
    found = {name: int(n) for name, n in zip(names, lengths[rows], strict=True) if name is not None}
    return [{"user": name, "history": n} for name, n in found.items()]


def _tried(served: Served, request: Request, asked: messages.PageRequest, trial: Trial) -> Tried:
    cascade = served.hot_swap.cascades[request.scene]
    check_ids(cascade, request)
    start = time.perf_counter()
    try:
        feed = tries.variant(cascade, trial.diversity, trial.without).run(request)
    except tries.Uncut as error:
        raise ProblemError(422, str(error), error.field) from None
    # what is left does not work together, which no declaration of a step shows
    except ContractError as error:
        if not trial.without:
            raise
        raise ProblemError(422, f"not without {', '.join(trial.without)}: {error}", "without") from error
    except Unavailable as error:
        raise ProblemError(503, f"a step cannot answer now: {error}", retry_after=1) from error
    ms = (time.perf_counter() - start) * 1e3
    return Tried(to_response(feed, asked, ms), _works(cascade, feed))


def _works(cascade: Cascade, feed: Page) -> list[dict[str, Any]]:
    """What is known of each work of ``feed``; what is not known is left out."""
    if cascade.bundle is None:
        return [{} for _ in range(len(feed))]
    snapshot, ids = cascade.bundle.snapshot, feed.candidates.ids
    tables = [snapshot.works]
    if cascade.online is not None:
        tables.append(cascade.online.view(-1)[0].items.updates.works)
    found: list[dict[str, Any]] = [{} for _ in range(len(feed))]
    for table in tables:
        rows = table.lookup(ids)
        for at in np.flatnonzero(rows >= 0).tolist():
            found[at] = _work(table, int(rows[at]), snapshot.labels, feed.request.time_ms or 0)
    return found


def _work(table: Table, row: int, labels: Any, now_ms: int) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for column in (CREATOR, SONG, TYPE, TAG):
        if column in table.columns and (code := int(table[column][row])) >= 0:
            names = labels.get(column, ())
            told[column] = names[code] if code < len(names) else code
    if PUBLISHED in table.columns and (published_ms := int(table[PUBLISHED][row])) > 0:
        told["age_hours"] = (now_ms - published_ms) / HOUR_MS
    return told
