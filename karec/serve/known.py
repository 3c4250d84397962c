"""GET /v1/users/ID and /v1/works/ID: what is known of one user, and of one work, now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from karec.bundle import Bundle
from karec.bundle.ids import BundleIds
from karec.pipeline.cascade import Cascade
from karec.serve import wire
from karec.serve.columns import columns_of
from karec.serve.ids import id_in_path, names_of, naming_of
from karec.serve.problems import ProblemError
from karec.serve.service import Served, Service

NEWEST = 50  # of a list of ids


async def user(call: Request) -> Response:
    return await _told(call, _user)


async def work(call: Request) -> Response:
    return await _told(call, _work)


async def _told(call: Request, tell: Callable[[Served, str, str | None], dict[str, Any]]) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    service.aside.check()
    with service.aside.entered():
        asked = call.path_params["id"], call.query_params.get("scene")
        found = await service.aside.call(tell, served, *asked)
    return Response(wire.encoded(found), media_type="application/json")


def _cascade(served: Served, scene: str | None) -> tuple[Cascade, Bundle]:
    """Of the scene, or of the first one that recommends works."""
    cascades = served.live.cascades
    if scene is not None and scene not in cascades:
        raise ProblemError(422, f"no scene {scene!r}; served are {[*cascades]}", "scene")
    some = [cascades[scene]] if scene is not None else [*cascades.values()]
    for cascade in some:
        if isinstance(cascade.bundle, Bundle):
            return cascade, cascade.bundle
    raise ProblemError(422, "the scene recommends no works: name another one", "scene")


def _user(served: Served, text: str, scene: str | None) -> dict[str, Any]:
    cascade, bundle = _cascade(served, scene)
    naming = naming_of(cascade)
    name, number = id_in_path(text, naming, "user")
    snapshot = bundle.snapshot
    row = int(snapshot.users.lookup(np.array([number]))[0])
    columns = {} if row < 0 else {key: column[row] for key, column in snapshot.users.columns.items()}
    lists = {} if row < 0 else {key: each.row_values(row) for key, each in snapshot.relations.items()}
    behind = None
    if cascade.online is not None:
        view, behind = cascade.online.view(number)
        if view.user is not None:
            lists |= {key: each.values for key, each in view.user.lists.items()}
            columns |= dict(zip(view.counter_names, view.user.counters, strict=True))
    return {
        "user": name,
        "known": row >= 0 or any(len(each) for each in lists.values()),
        "columns": columns,
        "lists": {key: {"n": len(each), "newest": _newest(each, key, naming)} for key, each in lists.items()},
        "behind": behind,
    }


def _newest(numbers: Any, relation: str, naming: BundleIds | None) -> list[Any]:
    """The last ids of a list, newest first."""
    return names_of(np.asarray(numbers)[-NEWEST:][::-1], relation, naming)


def _work(served: Served, text: str, scene: str | None) -> dict[str, Any]:
    cascade, bundle = _cascade(served, scene)
    name, number = id_in_path(text, naming_of(cascade), "work")
    index = bundle.index
    (columns,) = columns_of(cascade, np.array([number]))
    gone = cascade.online is not None and bool(np.isin(number, cascade.online.view(-1)[0].items.hidden_ids))
    with index.pinned() as view:
        rows = view.lookup([number])
        there = int(rows[0]) >= 0
        version = int(view.model_versions_of(rows)[0]) if there else None
        scores = view.scores(np.zeros(index.dim, np.float32), ids=[number]).tolist() if there else []
    if not there and not columns:
        raise ProblemError(404, f"no work {text[:64]!r}")
    offset = scores[0] if scores else 0.0
    return {
        "work": name,
        "columns": columns,
        "in_index": there,
        "model_version": version,
        "blocked": gone or offset == -np.inf,
        "offset": offset if np.isfinite(offset) else None,
    }
