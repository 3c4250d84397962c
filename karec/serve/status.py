"""GET /healthz, /readyz, /version, /metrics and /v1/status: the state of the worker that answers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from starlette.requests import Request as Call
from starlette.responses import Response

import karec
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Step
from karec.serve import messages
from karec.serve.service import Served, Service

MAX_RUN_S = 60.0  # a call that runs longer has blocked its thread


def _json(value: Any, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(messages.encode(value), status, headers, media_type="application/json")


async def health(call: Call) -> Response:
    """Responds 503 if a thread is blocked. `online_store`: "degraded" if it cannot be read, else null."""
    service: Service = call.app.state.service
    longest_s = max(queue.longest_run_s() for queue in service.queues)
    is_blocked = longest_s > MAX_RUN_S
    status = "blocked" if is_blocked else "alive"
    served = service.served
    failure = None if served is None else await asyncio.to_thread(served.hot_swap.store_failure)
    store = None if failure is None else "degraded"  # the reason may name a file: this call needs no token
    body = {"status": status, "pid": os.getpid(), "longest_run_s": round(longest_s, 3), "online_store": store}
    return _json(body, 503 if is_blocked else 200)


async def ready(call: Call) -> Response:
    service: Service = call.app.state.service
    service.ready()
    return _json({"status": "ready"})


async def version(call: Call) -> Response:
    served = call.app.state.service.served
    return _json({"karec": karec.__version__, "scenes": {} if served is None else _versions(served)})


async def metrics(call: Call) -> Response:
    service: Service = call.app.state.service
    text = await asyncio.to_thread(service.metrics.exposition)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def status(call: Call) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    hot_swap = served.hot_swap
    reloads = hot_swap.reloads
    return _json(
        {
            "karec": karec.__version__,
            "pid": os.getpid(),
            "versions": _versions(served),
            "scenes": {name: _steps(cascade) for name, cascade in hot_swap.cascades.items()},
            "queues": {
                queue.name: {
                    "n_calls": queue.n_calls,
                    "threads": queue.threads,
                    "mean_ms": round(queue.mean_ms, 3),
                }
                for queue in service.queues
            },
            "reloads": {"done": reloads.done, "refused": reloads.refused, "reason": reloads.reason},
            "has_online_store": served.has_online_store,
            "events": dict(hot_swap.event_counts),
            "is_page_on": served.settings.shows_page,
        }
    )


def _versions(served: Served) -> dict[str, Any]:
    return {scene: dict(cascade.versions) for scene, cascade in served.hot_swap.cascades.items()}


def _steps(cascade: Cascade) -> list[dict[str, str]]:
    """Returns the steps of a scene, in order."""
    steps: list[tuple[str, Step]] = [("query", step) for step in cascade.query_hydrators]
    steps += [("recall", step) for step in (*cascade.recall.sources, cascade.recall.merger)]
    steps += [(stage.name, step) for stage in cascade.stages for step in stage.steps]
    return [
        {"stage": stage, "name": step.name, "role": step.role, "class": type(step).__name__}
        for stage, step in steps
    ]
