"""/healthz, /readyz, /version, /metrics and /v1/status: what the service says of itself."""

from __future__ import annotations

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import karec
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Step
from karec.serve import wire
from karec.serve.problems import ProblemError
from karec.serve.service import Served, Service


def _json(value: Any) -> Response:
    return Response(wire.encoded(value), media_type="application/json", headers={"cache-control": "no-store"})


async def health(call: Request) -> Response:
    return _json({"status": "alive", "pid": os.getpid()})


async def ready(call: Request) -> Response:
    service: Service = call.app.state.service
    service.ready()
    if service.draining:
        raise ProblemError(503, "the service ends", retry_after=1)
    return _json({"status": "ready"})


async def version(call: Request) -> Response:
    service: Service = call.app.state.service
    served = service.served
    return _json({"karec": karec.__version__, "serves": {} if served is None else _versions(served)})


async def metrics(call: Request) -> Response:
    service: Service = call.app.state.service
    text = await service.aside.call(service.ready().metrics.exposition)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def status(call: Request) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    found = await service.aside.call(_status, service, served)
    return _json(found)


def _versions(served: Served) -> dict[str, Any]:
    return {scene: dict(cascade.versions) for scene, cascade in served.live.cascades.items()}


def _status(service: Service, served: Served) -> dict[str, Any]:
    return {
        "karec": karec.__version__,
        "worker": os.getpid(),
        "workers": service.board.told(),
        "versions": _versions(served),
        "scenes": {name: _scene(cascade) for name, cascade in served.live.cascades.items()},
        "admission": service.board.admission(),
        "events": {"kept": served.records, "counts": dict(served.live.event_counts)},
        "page": served.settings.shows_page,
    }


def _scene(cascade: Cascade) -> dict[str, Any]:
    """Steps by stage, in order, each with its role and kind."""
    steps: list[tuple[str, Step]] = [("request", step) for step in cascade.query_hydrators]
    steps += [("recall", step) for step in (*cascade.recall.sources, cascade.recall.merger)]
    steps += [(stage.name, step) for stage in cascade.stages for step in stage.steps]
    return {
        "steps": [
            {"stage": stage, "name": step.name, "role": step.role, "kind": type(step).__name__}
            for stage, step in steps
        ]
    }
