"""GET /v1/users/ID and GET /v1/items/ID: the newest values of one user or one item."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.aggregates import recent
from karec.aggregates.recent import HALF_LIVES
from karec.bundle import Bundle
from karec.bundle.ids import BundleIds
from karec.bundle.item_types import ItemTypeBundle
from karec.catalog.snapshot import Snapshot
from karec.pipeline.cascade import Cascade
from karec.serve import messages
from karec.serve.problems import ProblemError
from karec.serve.recommend import cascade_of
from karec.serve.request_checks import MAX_ID_LETTERS
from karec.serve.service import Served, Service

AnyBundle = Bundle | ItemTypeBundle
MAX_LIST_IDS = 50  # the newest of a list


async def get_user(call: Call) -> Response:
    return await _describe(call, _describe_user)


async def get_item(call: Call) -> Response:
    return await _describe(call, _describe_item)


async def _describe(call: Call, describe: Callable[[Cascade, AnyBundle, str], dict[str, Any]]) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    service.lookup_queue.check()
    cascade, bundle = _cascade_and_bundle(served, call.query_params.get("scene"))
    values = await service.lookup_queue.run(partial(describe, cascade, bundle, call.path_params["id"]))
    return Response(messages.encode(values), media_type="application/json")


def _cascade_and_bundle(served: Served, scene: str | None) -> tuple[Cascade, AnyBundle]:
    """Returns the cascade of the scene; None: the first scene that recommends works."""
    cascades = [*served.hot_swap.cascades.values()] if scene is None else [cascade_of(served, scene)]
    for cascade in cascades:
        if cascade.bundle is not None and (scene is not None or not cascade.item_type):
            return cascade, cascade.bundle
    raise ProblemError(422, "no scene recommends works: name a scene", "scene")


def _describe_user(cascade: Cascade, bundle: AnyBundle, text: str) -> dict[str, Any]:
    naming = bundle.naming
    user_id, number = _parse_id(text, naming, "user_id")
    snapshot = bundle.snapshot
    row = int(snapshot.users.lookup(np.array([number]))[0])
    columns: dict[str, Any] = {}
    lists: dict[str, Any] = {}
    if row >= 0:
        columns = {name: column[row] for name, column in snapshot.users.columns.items()}
        lists = {name: relation.row_values(row) for name, relation in snapshot.relations.items()}
    outdated = None
    if cascade.online is not None:
        view, outdated = cascade.online.view(number, cascade.item_type)
        if view.user is not None:
            lists |= {name: newest.values for name, newest in view.user.lists.items()}
        works = (view.works or view).user
        if works is not None:
            columns |= dict(zip(view.counter_names, works.counters, strict=True))
    newest_first = {name: np.asarray(ids)[-MAX_LIST_IDS:][::-1] for name, ids in lists.items()}
    return {
        "user_id": user_id,
        "is_known": row >= 0 or any(len(ids) for ids in lists.values()),
        "columns": columns,
        "lists": {
            name: {"n": len(lists[name]), "newest": ids_of(ids, name, naming)}
            for name, ids in newest_first.items()
        },
        "outdated": outdated,
    }


def _describe_item(cascade: Cascade, bundle: AnyBundle, text: str) -> dict[str, Any]:
    item_id, number = _parse_id(text, bundle.naming, "item_id")
    index = bundle.index
    columns = item_columns(cascade, number)
    is_hidden = cascade.online is not None and bool(
        np.isin(number, cascade.online.view(-1, cascade.item_type)[0].items.hidden_ids)
    )
    with index.pinned() as view:
        rows = view.lookup([number])
        is_indexed = int(rows[0]) >= 0
        model_version = int(view.model_versions_of(rows)[0]) if is_indexed else None
        # A zero vector has the score 0 · scale + offset: the offset, or −inf for a blocked item.
        scores = view.scores(np.zeros(index.dim, np.float32), ids=[number]).tolist() if is_indexed else []
    if not is_indexed and not columns:
        raise ProblemError(404, f"no item {text[:MAX_ID_LETTERS]!r}")
    offset = scores[0] if scores else 0.0
    return {
        "item_id": item_id,
        "columns": columns,
        "is_indexed": is_indexed,
        "model_version": model_version,
        "is_blocked": is_hidden or offset == -np.inf,
        "offset": offset if np.isfinite(offset) else None,
    }


def item_columns(cascade: Cascade, number: int) -> dict[str, Any]:
    """Returns {column: value} of an item from the online store or the bundle; empty if both lack it."""
    bundle = cascade.bundle
    if bundle is None:
        return {}
    if cascade.online is None:
        return _columns_of(bundle.snapshot, number, bundle.snapshot)
    view = cascade.online.view(-1, cascade.item_type)[0]
    values = _columns_of(view.items.updates, number, bundle.snapshot)
    values = values or _columns_of(bundle.snapshot, number, bundle.snapshot)
    items, now_ms = view.items, time.time_ns() // 1_000_000
    _, counters = items.find_counters(np.array([number], np.int64))
    if values and len(counters):
        values |= zip(view.counter_names, counters[0].tolist(), strict=True)
        state = items.recent[items.find_counter_rows(np.array([number], np.int64))]
        for half_life in HALF_LIVES:
            names = [f"{name}_{half_life}" for name in view.recent_names]
            values |= zip(names, recent.read(state, half_life, now_ms)[0].tolist(), strict=True)
    return values


def _columns_of(snapshot: Snapshot, number: int, labels: Snapshot) -> dict[str, Any]:
    row = int(snapshot.works.lookup(np.array([number], np.int64))[0])
    if row < 0:
        return {}
    values = {name: column[row].tolist() for name, column in snapshot.works.columns.items()}
    for name, texts in labels.labels.items():
        code = values.get(name)
        if isinstance(code, int) and 0 <= code < len(texts):
            values[name] = texts[code]
    return values


def _parse_id(text: str, naming: BundleIds | None, field: str) -> tuple[int | str, int]:
    """Returns (id, its number). Raises ProblemError 422 if the platform has other ids."""
    ids = None if naming is None else naming.users if field == "user_id" else naming.items
    try:
        id: int | str = text if ids is not None and ids.kind == "string" else _parse_integer(text)
        if isinstance(id, int) and not -(2**63) <= id < 2**63:
            raise ValueError
        return id, int(id) if ids is None else int(ids.numbers([id])[0])
    except (ValueError, OverflowError, TypeError):
        raise ProblemError(
            422, f"{text[:MAX_ID_LETTERS]!r} is not a {field} of this platform", field
        ) from None


def _parse_integer(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,19}", text):  # int() also takes " 7", "7_000" and other scripts' digits
        raise ValueError
    return int(text)


def ids_of(numbers: Any, relation: str, naming: BundleIds | None) -> list[Any]:
    """Returns the ids of a user's list. Creators keep their numbers: no map of the bundle names them."""
    plain: list[Any] = np.asarray(numbers).tolist()
    if naming is None or relation in ("follows", "muted"):
        return plain
    ids = naming.users if relation == "friends" else naming.items
    named: list[Any] = ids.names(np.asarray(numbers, np.int64), missing="none").tolist()
    return [naming.since.get(number) if id is None else id for number, id in zip(plain, named, strict=True)]
