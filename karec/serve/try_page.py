"""Serves the page *Try a user* and its calls, which run a scene with other settings of its steps."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, runtime_checkable

import msgspec
import numpy as np
from msgspec import Meta
from starlette.requests import Request as Call
from starlette.responses import Response
from starlette.routing import Route

from karec.config.wiring import wiring_mistakes
from karec.errors import ContractError, Unavailable
from karec.pipeline.cascade import Cascade
from karec.pipeline.stage import Stage
from karec.pipeline.step import Selector, Step
from karec.pipeline.types import Candidates, Request, Selection
from karec.serve import messages
from karec.serve.problems import ProblemError, unavailable
from karec.serve.recommend import cascade_of, to_request
from karec.serve.request_checks import check_ids
from karec.serve.responses import to_response
from karec.serve.service import Served, Service
from karec.toml import Place

N_SAMPLE_USERS = 5


class TryRequest(messages.PageRequest, forbid_unknown_fields=True, frozen=True):
    """Request for a page. `diversity`: replaces that of the last stage with a diversity; null: as configured.
    `without`: steps ("rerank.dpp") and stages ("rerank") that are left out."""

    explain: bool = True
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    without: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=64)] = ()


_TRY_REQUEST = msgspec.json.Decoder(TryRequest)


@runtime_checkable
class Diverse(Protocol):
    """A selector with a diversity in [0, 1]: DPP, MMR, SSD, or a step of the host."""

    @property
    def diversity(self) -> float: ...
    def with_diversity(self, diversity: float) -> Self: ...


def routes() -> list[Route]:
    return [Route("/", get_page), Route("/v1/try", try_user, methods=["GET", "POST"])]


async def get_page(call: Call) -> Response:
    _check_is_on(call.app.state.service)
    content, policy = _page_file()
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff"}
    return Response(content, media_type="text/html", headers=headers)


async def try_user(call: Call) -> Response:
    """Returns the scenes and their steps (GET), or a page without side effects (POST)."""
    service: Service = call.app.state.service
    served = service.ready()
    _check_is_on(service)
    function: Callable[[], Any] = partial(describe_scenes, served)
    if call.method == "POST":
        body = await messages.read_body(call, served.settings.max_body_kb << 10)
        function = partial(run_try, served, messages.decode(body, _TRY_REQUEST))
    service.lookup_queue.check()
    content = messages.encode(await service.lookup_queue.run(function))
    return Response(content, media_type="application/json", headers={"cache-control": "no-store"})


def _check_is_on(service: Service) -> None:
    if not service.settings.shows_page:
        raise ProblemError(404, "the page is off. Set [serve] page = true to turn it on.")


@cache
def _page_file() -> tuple[str, str]:
    """Returns the page and its content security policy, which names its script and style by their hashes."""
    html = files("karec.serve").joinpath("page", "index.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    policy += "frame-ancestors 'none'; "
    return html, policy + "; ".join(f"{tag}-src 'sha256-{value}'" for tag, value in hashes.items())


def describe_scenes(served: Served) -> dict[str, Any]:
    scenes = {name: _describe_scene(cascade) for name, cascade in served.hot_swap.cascades.items()}
    return {"scene": served.scene_of(None), "max_k": served.settings.max_k, "scenes": scenes}


def _describe_scene(cascade: Cascade) -> dict[str, Any]:
    steps = [
        {
            "stage": stage.name,
            "step": step.name,
            "diversity": step.diversity if isinstance(step, Diverse) else None,
            "can_skip": not _mistakes(cascade, _stages_without(cascade, [f"{stage.name}.{step.name}"])),
        }
        for stage in cascade.stages
        for step in stage.steps
    ]
    if cascade.bundle is None:
        return {"steps": steps, "user_ids": "integer", "users": [], "snapshot_time_ms": None}
    naming, snapshot = cascade.bundle.naming, cascade.bundle.snapshot
    ids = snapshot.users.ids
    sample = ids[np.linspace(0, len(ids) - 1, min(N_SAMPLE_USERS, len(ids))).astype(np.int64)]
    return {
        "steps": steps,
        "user_ids": "integer" if naming is None else naming.users.kind,
        "users": sample if naming is None else naming.users.names(sample),
        "snapshot_time_ms": snapshot.time_ms,
    }


def run_try(served: Served, message: TryRequest) -> messages.PageResponse:
    request = to_request(served, message)
    cascade = cascade_of(served, request.scene)
    check_ids(cascade, request)
    start = time.perf_counter()
    try:
        page = change_steps(cascade, message.diversity, message.without).run(request)
    except ContractError as error:  # the declarations of steps do not show every dependency
        if not message.without:
            raise
        raise ProblemError(422, f"without {', '.join(message.without)}: {error}", "without") from error
    except Unavailable as error:
        raise unavailable("a step is not available", error) from error
    return to_response(page, message, (time.perf_counter() - start) * 1e3)


def change_steps(cascade: Cascade, diversity: float | None = None, without: Collection[str] = ()) -> Cascade:
    """Returns `cascade` with another diversity, without some steps and without side effects. Takes < 1 ms.

    It shares the index, the models and all other steps. Arms of experiments, which have their own stages, are
    left out. A selector that is left out still cuts to as many items: the best by score if a scorer ran since
    the selector before it, else the first.

    Raises:
        ProblemError: 422, no such step, or other steps need the results of one that is left out.
    """
    names = [stage.name for stage in cascade.stages]
    names += [f"{stage.name}.{step.name}" for stage in cascade.stages for step in stage.steps]
    for name in without:
        if name not in names:
            raise ProblemError(422, f"{name!r} is not a stage or step; there are {names}", "without")
    stages = _stages_without(cascade, without)
    for mistake in _mistakes(cascade, stages):
        raise ProblemError(422, f"without {', '.join(without)}: {mistake}", "without")
    diverse = [stage.name for stage in stages if any(isinstance(step, Diverse) for step in stage.steps)]
    if diversity is not None:
        if not diverse:
            raise ProblemError(422, "none of the remaining steps has a diversity", "diversity")
        stages = tuple(
            _with_diversity(stage, diversity) if stage.name == diverse[-1] else stage for stage in stages
        )
    return replace(cascade.without_side_effects(), stages=stages, experiments=None)


class _Cut(Selector):
    """Selects the best `k` candidates by score, or the first (None: the request's k)."""

    def __init__(self, left_out: Selector, *, is_by_score: bool) -> None:
        self.k = left_out.k
        self.name = f"{left_out.name}, left out"
        self._is_by_score = is_by_score

    def select(self, request: Request, candidates: Candidates) -> Selection:
        scores = candidates.scores if self._is_by_score else np.zeros(len(candidates))
        return Selection(np.argsort(-scores, kind="stable")[: self.k or request.k])


def _stages_without(cascade: Cascade, without: Collection[str]) -> tuple[Stage, ...]:
    has_new_scores = True  # since the last selector
    stages = []
    for stage in cascade.stages:
        steps: list[Step] = []
        for step in stage.steps:
            if stage.name not in without and f"{stage.name}.{step.name}" not in without:
                steps.append(step)
                has_new_scores = has_new_scores or step.role == "scorer"
            elif isinstance(step, Selector):
                steps.append(_Cut(step, is_by_score=has_new_scores))
            if step.role == "selector":
                has_new_scores = False
        stages.append(Stage(stage.name, tuple(steps)))  # no fallback: a try has no deadline
    return tuple(stages)


def _with_diversity(stage: Stage, diversity: float) -> Stage:
    steps = (step.with_diversity(diversity) if isinstance(step, Diverse) else step for step in stage.steps)
    return Stage(stage.name, tuple(steps))


def _mistakes(cascade: Cascade, stages: Sequence[Stage]) -> list[str]:
    """Returns what `karec check` reports for the scene with these stages."""
    recall, place = cascade.recall, Place(Path("karec.toml"))["scenes"][cascade.scene]
    hydrators = cascade.query_hydrators
    return [str(e) for e in wiring_mistakes(hydrators, recall.sources, recall.merger, stages, (), place)]
