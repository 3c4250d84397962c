"""What is asked for a feed, as the cascade reads it; and the feed, as it goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from karec.errors import nearest
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import EMPTY, Page, Request
from karec.serve import wire
from karec.serve.problems import ProblemError
from karec.serve.reasons import reasons
from karec.serve.service import Served


def request_of(served: Served, asked: wire.Asked, place: str) -> Request:
    """ProblemError 422 for what is beyond the service's limits, and for a scene that it does not serve."""
    settings, scene = served.settings, served.scene_of(asked.scene)
    cascade_of(served, scene, place)
    if asked.k > settings.k:
        raise ProblemError(422, f"k = {asked.k}, at most {settings.k} works are answered", f"{place}k")
    if len(asked.shown) > settings.shown:
        raise ProblemError(
            422, f"{len(asked.shown)} works, at most {settings.shown} are taken", f"{place}shown"
        )
    for i, each in [(None, asked.user), *enumerate(asked.shown)]:
        if not isinstance(each, str) and not -(2**63) <= each < 2**63:
            raise ProblemError(
                422, "an id must fit 64 bits", f"{place}user" if i is None else f"{place}shown[{i}]"
            )
    features = {
        f"context.{name}": np.asarray(value) for name, value in asked.context.items() if value is not None
    }
    return Request(
        asked.user,
        k=asked.k,
        scene=scene,
        time_ms=asked.time_ms,
        shown=tuple(asked.shown),
        request_id=asked.request_id,
        explain=asked.explain,
        features=features or EMPTY,
    )


def cascade_of(served: Served, scene: str, place: str) -> Cascade:
    """ProblemError 422: there is no such scene."""
    cascades = served.live.cascades
    if scene not in cascades:
        why = f"no scene {scene!r}{nearest(scene, cascades)}; served are {[*cascades]}"
        raise ProblemError(422, why, f"{place}scene")
    return cascades[scene]


def answer_of(feed: Page, asked: wire.Asked, ms: float) -> wire.Answer:
    return wire.Answer(
        request_id=feed.request.request_id,
        user=asked.user,
        scene=feed.request.scene,
        items=_found(feed, reasons(feed) if asked.explain else None),
        degraded=feed.degraded,
        cold_start=feed.is_cold_start,
        versions=dict(feed.versions),
        short=None if feed.shortfall is None else str(feed.shortfall),
        ms=round(ms, 3),
        trace=[step.to_dict() for step in feed.trace.steps] if asked.explain else msgspec.UNSET,
    )


def _found(feed: Page, whys: Sequence[str] | None) -> list[wire.Found]:
    """``feed.items``, without an Item for each, which takes longer than all else of an answer."""
    works = feed.candidates
    ids = works.ids.tolist() if feed.item_ids is None else feed.item_ids
    columns = [(name, of.tolist()) for name, of in works.columns.items() if of.ndim == 1]
    scores, bits = works.scores.tolist(), works.sources.tolist()
    by = {
        each: tuple(name for at, name in enumerate(feed.source_names) if each >> at & 1) for each in set(bits)
    }
    return [
        wire.Found(
            at,
            ids[at],
            scores[at],
            by[bits[at]],
            {name: of[at] for name, of in columns},
            msgspec.UNSET if whys is None else whys[at],
        )
        for at in range(len(works))
    ]
